"""The way of a request through one instance, and of a release to all of them."""

import re
from itertools import pairwise

from diagrams.aws.compute import EC2AutoScaling, EC2Ami
from diagrams.aws.database import Aurora
from diagrams.aws.general import Users
from diagrams.aws.management import CloudwatchAlarm
from diagrams.aws.network import ElbApplicationLoadBalancer
from diagrams.aws.storage import ElasticFileSystemEFSFileSystem
from diagrams.onprem.iac import Ansible, Terraform
from diagrams.onprem.vcs import Github
from diagrams.programming.language import Rust

from picture import BLUE, GREY, HERE, INK, ORANGE, PURPLE, Picture, arrow, box, caption, corner, icon, part

socket = HERE.parent / "systemd" / "hello-birthday.socket"
public_port, admin_port = re.findall(r"ListenStream=(\d+)", socket.read_text())

with Picture("request", 940, 480):
    # A request.
    box(470, 145, 924, 274, "A request", line=GREY, fill="#fafbfc")
    clients = icon(Users, 64, 142, "Clients")
    balancer = icon(ElbApplicationLoadBalancer, 196, 142, "Load balancer", "aws_lb.this")
    box(504, 150, 428, 236, "Instance", line=ORANGE, dashed=True, id="aws_launch_template.this")
    public = part(346, 142, 80, 96, f"systemd's\nsocket\n{public_port}", line=GREY)
    probes = part(346, 234, 80, 44, admin_port, line=GREY)
    box(558, 150, 296, 206, "hello-birthday", line=PURPLE, fill="#faf7ff")
    http = part(446, 142, 48, 96, "HTTP", line=INK)
    read = part(553, 116, 86, 34, "read queue", line=INK)
    write = part(553, 168, 86, 34, "write queue", line=INK)
    batch = part(662, 142, 64, 96, "one batch\nof all\nthat wait", line=INK)
    ready = part(500, 234, 156, 28, "/readyz  /livez  /metrics", line=INK)
    box(833, 150, 158, 236, "One of the two", line=BLUE, fill="#f0f7ff")
    efs = icon(ElasticFileSystemEFSFileSystem, 833, 92, "SQLite on EFS", "sqlite.aws_efs_file_system.this")
    icon(Aurora, 833, 186, "Postgres on Aurora", "postgres.aws_rds_cluster.this")

    arrow(clients, balancer)
    caption(130, 132, "TLS")
    arrow(balancer, public)
    arrow(corner(196, 180), corner(196, 234), probes, color=GREY, dashed=True)
    caption(243, 224, "probes /readyz", GREY)
    arrow(public, http)
    arrow(probes, ready, color=GREY, dashed=True)
    for queue, y, method in ((read, 116, "GET"), (write, 168, "PUT")):
        arrow(corner(470, y), queue)
        caption(488, y - 10, method)
        arrow(queue, corner(630, y))
    arrow(batch, corner(754, 142), both=True)

    # A release.
    box(470, 383, 924, 178, "A release", line=GREY, fill="#fafbfc")
    steps = [
        icon(Rust, 70, 366, "cargo static:\none binary"),
        icon(Ansible, 206, 366, "Packer, Ansible:\na host, sealed"),
        icon(EC2Ami, 342, 366, "Image, booted\nand tested first"),
        icon(Github, 478, 366, "deploy, of one\nenvironment"),
        icon(Terraform, 614, 366, "terraform apply\nstarts a roll, waits"),
        icon(EC2AutoScaling, 742, 366, "Instance refresh:\nnew before old", "aws_autoscaling_group.this"),
        icon(CloudwatchAlarm, 870, 366, "Alarms: quiet, or\nrolled back", "aws_cloudwatch_metric_alarm.http_5xx"),
    ]
    for step, following in pairwise(steps):
        arrow(step, following, color=BLUE)
    # What went wrong fails the apply.
    arrow(corner(870, 424), corner(870, 446), corner(614, 446), corner(614, 422), color=BLUE, dashed=True)
    caption(742, 457, "succeeded, or failed and why", BLUE)
