"""The whole system: what terraform/ creates, its users, and those that create and watch it."""

from diagrams.aws.compute import EC2Ami, EC2Instance
from diagrams.aws.database import Aurora
from diagrams.aws.general import Users
from diagrams.aws.integration import SimpleNotificationServiceSnsTopic
from diagrams.aws.management import Cloudwatch, SystemsManager, SystemsManagerParameterStore
from diagrams.aws.network import ElbApplicationLoadBalancer, Endpoint, Route53
from diagrams.aws.security import (
    WAF,
    CertificateManager,
    Cognito,
    IAMRole,
    KeyManagementService,
)
from diagrams.aws.storage import Backup, ElasticFileSystemEFSFileSystem, SimpleStorageServiceS3Bucket
from diagrams.onprem.ci import GithubActions
from diagrams.onprem.client import User
from diagrams.onprem.iac import Ansible, Terraform

from picture import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, Picture, arrow, box, caption, corner, icon, part

with Picture("system", 940, 700):
    # Groups, from the outside in.
    box(471, 239, 622, 458, "AWS, one region", dashed=True)
    box(471, 237, 590, 196, "VPC, over 2 or 3 zones", line=PURPLE, id="aws_vpc.this")
    box(241, 246, 106, 150, "Public subnets", line=GREEN, fill="#f4f9ef", id="aws_subnet.public")
    box(441, 246, 270, 150, "Private subnets", line=BLUE, fill="#f0f7ff", id="aws_subnet.private")
    box(671, 246, 166, 150, "Data subnets", line=BLUE, fill="#f0f7ff", id="aws_subnet.data")
    box(409, 253, 184, 116, "Auto Scaling group", line=ORANGE, dashed=True, id="aws_autoscaling_group.this")
    box(441, 399, 270, 104, fill="#f6f8fa")
    box(852, 396, 112, 124, "Second region", dashed=True)
    box(212, 592, 112, 192, "Bootstrap", dashed=True)

    # The way of a request.
    clients = icon(Users, 70, 252, "Clients")
    balancer = icon(ElbApplicationLoadBalancer, 241, 252, "Load balancer,\nTLS 1.3", "aws_lb.this")
    icon(EC2Instance, 351, 252, "zone a")
    icon(EC2Instance, 409, 252, "zone b", "aws_launch_template.this")
    icon(EC2Instance, 467, 252, "zone c")
    icon(Endpoint, 539, 252, "NAT or\nendpoints", "aws_vpc_endpoint.this")
    icon(ElasticFileSystemEFSFileSystem, 630, 252, "SQLite\non EFS", "sqlite.aws_efs_file_system.this")
    icon(Aurora, 712, 252, "Postgres\non Aurora", "postgres.aws_rds_cluster.this")
    caption(671, 252, "or", GREY)
    arrow(clients, balancer)
    arrow(balancer, corner(317, 252))
    arrow(corner(501, 213), corner(588, 213))

    # In front of it, and for all of it.
    names = icon(Route53, 212, 72, "Route 53", "aws_route53_record.this")
    icon(CertificateManager, 300, 72, "Certificate", "aws_acm_certificate.this")
    icon(WAF, 392, 72, "WAF, optional", "aws_wafv2_web_acl.this")
    icon(Cognito, 500, 72, "Cognito, optional", "aws_cognito_user_pool.this")
    icon(KeyManagementService, 612, 72, "Keys", "aws_kms_key.this")
    icon(SimpleStorageServiceS3Bucket, 712, 72, "Access logs", "aws_s3_bucket.access_logs")
    arrow(clients, corner(70, 72), names, color=GREY, dashed=True)

    # Notifications.
    people = icon(User, 70, 390, "On call")
    topic = icon(SimpleNotificationServiceSnsTopic, 212, 390, "Topics: urgent,\nroutine", "aws_sns_topic.alarms")
    watch = icon(Cloudwatch, 352, 390, "Alarms, logs,\ndashboard", "aws_cloudwatch_metric_alarm.http_5xx")
    icon(SystemsManager, 488, 390, "Sessions")
    vault = icon(Backup, 671, 390, "Backup,\nnightly", "aws_backup_vault.this")
    copy = icon(Backup, 852, 390, "Copy,\nlocked", "aws_backup_vault.recovery")
    arrow(corner(539, 306), corner(539, 347), color=GREY)
    arrow(watch, topic, color=GREY)
    arrow(topic, people, color=GREY)
    arrow(corner(671, 321), vault, color=GREY)
    arrow(vault, copy, color=GREY)

    # Terraform and its state.
    github = icon(GithubActions, 70, 546, "GitHub Actions")
    role = icon(IAMRole, 212, 546, "Roles", "bootstrap.aws_iam_role.apply")
    state = icon(SimpleStorageServiceS3Bucket, 212, 636, "States", "bootstrap.aws_s3_bucket.state")
    terraform = icon(Terraform, 352, 546, "Terraform")
    image = icon(EC2Ami, 492, 546, "Image")
    bake = icon(Ansible, 612, 546, "Packer, Ansible")
    binary = part(732, 546, 80, 40, "Static\nbinary", line=INK)
    record = icon(SystemsManagerParameterStore, 492, 636, "Image that runs", "aws_ssm_parameter.image")
    caption(422, 536, "ami_id", BLUE)
    caption(384, 496, "applies", BLUE)
    arrow(github, role, color=BLUE)
    arrow(role, terraform, color=BLUE)
    arrow(terraform, corner(352, 468), color=BLUE)
    arrow(corner(352, 590), corner(352, 636), state, color=BLUE)
    arrow(corner(352, 636), record, color=BLUE)
    arrow(image, terraform, color=BLUE)
    arrow(bake, image, color=BLUE)
    arrow(binary, bake, color=BLUE)

    # What the colours say.
    for y, text, color in (
        (622, "requests", INK),
        (642, "watching and keeping", GREY),
        (662, "releases", BLUE),
    ):
        arrow(corner(600, y), corner(640, y), color=color)
        caption(752, y, text + "\\l", color=color, width=200)
