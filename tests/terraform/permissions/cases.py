"""What each role of bootstrap/ may do and may not, with the policies that an emulated AWS
has of it. AWS_ENDPOINT_URL names the emulator; the environments are staging and production.
"""

import functools
import json
import os
import unittest

import boto3
import reference
from account import Role, read_policy, read_role
from asked import ACCOUNT, Request
from policies import ALLOWED, many, trusts

ENVIRONMENTS = ["staging", "production"]
OTHER = {"staging": "production", "production": "staging"}

REGION = f"eu-central-1:{ACCOUNT}"
EC2 = f"arn:aws:ec2:{REGION}"
ROLE = f"arn:aws:iam::{ACCOUNT}:role"
STATES = f"arn:aws:s3:::terraform-hello-birthday-{ACCOUNT}"

iam = boto3.client("iam", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")


@functools.cache
def bootstrap_role(name):
    return read_role(iam, f"hello-birthday-{name}")


def boundary_arn(environment):
    return f"arn:aws:iam::{ACCOUNT}:policy/terraform/hello-birthday-boundary-{environment}"


def zone(environment):
    """The hosted zone of an environment, as the test made it."""
    return json.loads(os.environ["HOSTED_ZONES"])[environment]


def tag(environment):
    return {"Environment": environment}


def record(environment):
    """The parameter that names the image which runs."""
    return f"arn:aws:ssm:{REGION}:parameter/hello-birthday/{environment}/image"


def cluster(environment):
    return f"arn:aws:rds:{REGION}:cluster:hello-birthday-{environment}"


def master_secret(environment):
    """The tag that RDS gives a secret, whose name says nothing."""
    return {"aws:rds:primaryDBClusterArn": cluster(environment)}


class Cases(unittest.TestCase):
    maxDiff = None

    def expect(self, allowed, role, what, action, resource="*", **more):
        request = Request(action, resource, **more)
        outcome = role.judge(request)
        with self.subTest(action=action, resource=resource, **more):
            self.assertEqual(outcome == ALLOWED, allowed, f"{what}: {action} on {resource} with {more} is {outcome}")
        type(self).judged += 1

    def may(self, role, what, *request, **more):
        self.expect(True, role, what, *request, **more)

    def may_not(self, role, what, *request, **more):
        self.expect(False, role, what, *request, **more)

    @classmethod
    def setUpClass(cls):
        cls.judged = 0

    @classmethod
    def tearDownClass(cls):
        print(f"{cls.__name__}: {cls.judged} requests judged")


# What an apply changes by name: {} is the environment.
BY_NAME = {
    f"arn:aws:autoscaling:{REGION}:autoScalingGroup:1-2:autoScalingGroupName/hello-birthday-{{}}": [
        "autoscaling:CancelInstanceRefresh",
        "autoscaling:CreateAutoScalingGroup",
        "autoscaling:DeleteAutoScalingGroup",
        "autoscaling:RollbackInstanceRefresh",
        "autoscaling:SetDesiredCapacity",
        "autoscaling:StartInstanceRefresh",
        "autoscaling:UpdateAutoScalingGroup",
    ],
    f"arn:aws:elasticloadbalancing:{REGION}:loadbalancer/app/hello-birthday-{{}}/0123456789abcdef": [
        "elasticloadbalancing:CreateListener",
        "elasticloadbalancing:DeleteLoadBalancer",
        "elasticloadbalancing:ModifyLoadBalancerAttributes",
        "elasticloadbalancing:SetSecurityGroups",
        "elasticloadbalancing:SetWebACL",
        "wafv2:AssociateWebACL",
        "wafv2:DisassociateWebACL",
    ],
    f"arn:aws:elasticloadbalancing:{REGION}:listener/app/hello-birthday-{{}}/0123456789abcdef/0123456789abcdef": [
        "elasticloadbalancing:DeleteListener",
        "elasticloadbalancing:ModifyListener",
    ],
    f"arn:aws:elasticloadbalancing:{REGION}:targetgroup/hello-birthday-{{}}/0123456789abcdef": [
        "elasticloadbalancing:DeleteTargetGroup",
        "elasticloadbalancing:RegisterTargets",
    ],
    f"arn:aws:wafv2:{REGION}:regional/webacl/hello-birthday-{{}}/1-2": ["wafv2:DeleteWebACL", "wafv2:UpdateWebACL"],
    f"arn:aws:cloudwatch:{REGION}:alarm:hello-birthday-{{}}-unhealthy": [
        "cloudwatch:DeleteAlarms",
        "cloudwatch:PutMetricAlarm",
    ],
    f"arn:aws:cloudwatch::{ACCOUNT}:dashboard/hello-birthday-{{}}": [
        "cloudwatch:DeleteDashboards",
        "cloudwatch:PutDashboard",
    ],
    f"arn:aws:logs:{REGION}:log-group:/hello-birthday-{{}}/service": [
        "logs:CreateLogGroup",
        "logs:DeleteLogGroup",
        "logs:PutRetentionPolicy",
    ],
    f"arn:aws:logs:{REGION}:log-group:/aws/rds/cluster/hello-birthday-{{}}/postgresql": ["logs:DeleteLogGroup"],
    f"arn:aws:sns:{REGION}:hello-birthday-{{}}-urgent": ["sns:DeleteTopic", "sns:SetTopicAttributes", "sns:Subscribe"],
    f"arn:aws:events:{REGION}:rule/hello-birthday-{{}}-roll-failed": ["events:DeleteRule", "events:PutTargets"],
    f"arn:aws:ssm:{REGION}:parameter/hello-birthday/{{}}/copy-from": ["ssm:DeleteParameter", "ssm:PutParameter"],
    f"arn:aws:ssm:{REGION}:parameter/hello-birthday/{{}}/image": ["ssm:AddTagsToResource", "ssm:PutParameter"],
    f"arn:aws:rds:{REGION}:cluster:hello-birthday-{{}}": [
        "rds-data:ExecuteStatement",
        "rds:AddTagsToResource",
        "rds:DeleteDBCluster",
        "rds:FailoverDBCluster",
        "rds:ModifyDBCluster",
    ],
    f"arn:aws:rds:{REGION}:db:hello-birthday-{{}}-1": [
        "rds:CreateDBInstance",
        "rds:DeleteDBInstance",
        "rds:ModifyDBInstance",
    ],
    f"arn:aws:rds:{REGION}:cluster-pg:hello-birthday-{{}}-postgres15": ["rds:ModifyDBClusterParameterGroup"],
    f"arn:aws:rds:{REGION}:subgrp:hello-birthday-{{}}": ["rds:DeleteDBSubnetGroup"],
    f"arn:aws:rds:{REGION}:cluster-snapshot:hello-birthday-{{}}-final-1": ["rds:DeleteDBCluster"],
    f"arn:aws:backup:{REGION}:backup-vault:hello-birthday-{{}}": [
        "backup:CreateBackupVault",
        "backup:DeleteBackupVault",
        "backup:PutBackupVaultAccessPolicy",
        "backup:PutBackupVaultLockConfiguration",
    ],
    f"arn:aws:kms:{REGION}:alias/hello-birthday-{{}}": ["kms:CreateAlias", "kms:DeleteAlias"],
    f"arn:aws:s3:::hello-birthday-{{}}-logs-{ACCOUNT}-eu-central-1": [
        "s3:DeleteBucket",
        "s3:PutBucketPolicy",
        "s3:PutLifecycleConfiguration",
    ],
    f"arn:aws:iam::{ACCOUNT}:instance-profile/hello-birthday-{{}}-eu-central-1-instance": [
        "iam:AddRoleToInstanceProfile",
        "iam:DeleteInstanceProfile",
    ],
    f"{STATES}/stacks/{{}}.tfstate": ["s3:GetObject", "s3:PutObject"],
    f"{STATES}/stacks/{{}}.tfstate.tflock": ["s3:DeleteObject", "s3:PutObject"],
}

# And what by the tag that it has.
BY_TAG = {
    f"{EC2}:vpc/vpc-1": [
        "ec2:CreateFlowLogs",
        "ec2:CreateSecurityGroup",
        "ec2:CreateSubnet",
        "ec2:DeleteVpc",
        "ec2:ModifyVpcAttribute",
    ],
    f"{EC2}:subnet/subnet-1": [
        "ec2:CreateNatGateway",
        "ec2:CreateNetworkInterface",
        "ec2:CreateVpcEndpoint",
        "ec2:DeleteSubnet",
        "ec2:RunInstances",
    ],
    f"{EC2}:route-table/rtb-1": [
        "ec2:AssociateRouteTable",
        "ec2:CreateRoute",
        "ec2:DeleteRoute",
        "ec2:DeleteRouteTable",
        "ec2:ReplaceRoute",
    ],
    f"{EC2}:internet-gateway/igw-1": ["ec2:AttachInternetGateway", "ec2:DetachInternetGateway"],
    f"{EC2}:security-group/sg-1": [
        "ec2:AuthorizeSecurityGroupEgress",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:DeleteSecurityGroup",
        "ec2:RevokeSecurityGroupIngress",
        "ec2:RunInstances",
    ],
    f"{EC2}:elastic-ip/eipalloc-1": ["ec2:CreateNatGateway", "ec2:ReleaseAddress"],
    f"{EC2}:natgateway/nat-1": ["ec2:DeleteNatGateway"],
    f"{EC2}:vpc-endpoint/vpce-1": ["ec2:DeleteVpcEndpoints", "ec2:ModifyVpcEndpoint"],
    f"{EC2}:vpc-flow-log/fl-1": ["ec2:DeleteFlowLogs"],
    f"{EC2}:launch-template/lt-1": [
        "ec2:CreateLaunchTemplateVersion",
        "ec2:DeleteLaunchTemplate",
        "ec2:DeleteLaunchTemplateVersions",
        "ec2:ModifyLaunchTemplate",
        "ec2:RunInstances",
    ],
    f"arn:aws:elasticfilesystem:{REGION}:file-system/fs-1": [
        "elasticfilesystem:CreateAccessPoint",
        "elasticfilesystem:CreateMountTarget",
        "elasticfilesystem:DeleteFileSystem",
        "elasticfilesystem:PutFileSystemPolicy",
    ],
    f"arn:aws:elasticfilesystem:{REGION}:access-point/fsap-1": ["elasticfilesystem:DeleteAccessPoint"],
    f"arn:aws:kms:{REGION}:key/1-2": [
        "kms:CreateAlias",
        "kms:CreateGrant",
        "kms:Decrypt",
        "kms:PutKeyPolicy",
        "kms:ScheduleKeyDeletion",
        "kms:UntagResource",
    ],
    f"arn:aws:backup:{REGION}:backup-plan:1-2": [
        "backup:CreateBackupSelection",
        "backup:DeleteBackupPlan",
        "backup:UpdateBackupPlan",
    ],
    f"arn:aws:acm:{REGION}:certificate/1-2": ["acm:DeleteCertificate"],
    f"arn:aws:cognito-idp:{REGION}:userpool/eu-central-1_1": [
        "cognito-idp:CreateUserPoolClient",
        "cognito-idp:DeleteUserPool",
    ],
}

# What carries the tag from its creation on, in its own request.
MADE = {
    "ec2:AllocateAddress": f"{EC2}:elastic-ip/*",
    "ec2:AuthorizeSecurityGroupIngress": f"{EC2}:security-group-rule/*",
    "ec2:CreateFlowLogs": f"{EC2}:vpc-flow-log/*",
    "ec2:CreateInternetGateway": f"{EC2}:internet-gateway/*",
    "ec2:CreateLaunchTemplate": f"{EC2}:launch-template/*",
    "ec2:CreateNatGateway": f"{EC2}:natgateway/*",
    "ec2:CreateRouteTable": f"{EC2}:route-table/*",
    "ec2:CreateSecurityGroup": f"{EC2}:security-group/*",
    "ec2:CreateSubnet": f"{EC2}:subnet/*",
    "ec2:CreateVpc": f"{EC2}:vpc/*",
    "ec2:CreateVpcEndpoint": f"{EC2}:vpc-endpoint/*",
    "ec2:RunInstances": f"{EC2}:instance/*",
    "acm:RequestCertificate": "*",
    "backup:CreateBackupPlan": f"arn:aws:backup:{REGION}:backup-plan:new",
    "cognito-idp:CreateUserPool": "*",
    "elasticfilesystem:CreateFileSystem": "*",
    "kms:CreateKey": "*",
}


class ApplyRole(Cases):
    def setUp(self):
        self.roles = {environment: bootstrap_role(f"apply-{environment}") for environment in ENVIRONMENTS}

    def test_it_changes_what_has_its_stacks_name_and_nothing_else_that_has_a_name(self):
        for environment, role in self.roles.items():
            for resource, actions in BY_NAME.items():
                for action in actions:
                    self.may(role, environment, action, resource.format(environment))
                    for other in (OTHER[environment], f"{environment}2", "x"):
                        self.may_not(role, environment, action, resource.format(other))
                    foreign = resource.replace("hello-birthday-{}", "billing").replace("hello-birthday/{}", "billing")
                    if foreign != resource:
                        self.may_not(role, environment, action, foreign)

    def test_it_changes_what_has_its_tag_and_neither_another_stacks_nor_what_has_none(self):
        for environment, role in self.roles.items():
            for resource, actions in BY_TAG.items():
                for action in actions:
                    self.may(role, environment, action, resource, has=tag(environment))
                    self.may_not(role, environment, action, resource, has=tag(OTHER[environment]))
                    self.may_not(role, environment, action, resource, has={"Name": "billing"})
                    self.may_not(role, environment, action, resource)

    def test_what_it_makes_carries_its_tag_from_the_beginning(self):
        for environment, role in self.roles.items():
            for action, resource in MADE.items():
                self.may(role, environment, action, resource, gives=tag(environment))
                self.may_not(role, environment, action, resource, gives=tag(OTHER[environment]))
                self.may_not(role, environment, action, resource, gives={"Name": "a"})
                self.may_not(role, environment, action, resource)

    def test_it_takes_nothing_over_by_giving_it_its_tag(self):
        for environment, role in self.roles.items():
            given = tag(environment)
            for resource in BY_TAG:
                if ":ec2:" in resource:
                    creation = {"ec2:CreateAction": "CreateVpc"}
                    self.may(role, environment, "ec2:CreateTags", resource, gives=given, keys=creation)
                    self.may_not(role, environment, "ec2:CreateTags", resource, gives=given)
                    self.may_not(
                        role, environment, "ec2:CreateTags", resource, gives=given, has=tag(OTHER[environment])
                    )
                    self.may(role, environment, "ec2:CreateTags", resource, gives={"Name": "a"}, has=given)
                    self.may_not(
                        role, environment, "ec2:CreateTags", resource, gives=tag(OTHER[environment]), has=given
                    )
                    self.may(role, environment, "ec2:DeleteTags", resource, gives={"Name": ""}, has=given)
                    self.may_not(role, environment, "ec2:DeleteTags", resource, gives={"Environment": ""}, has=given)
            for kind in ("file-system", "access-point"):
                resource = f"arn:aws:elasticfilesystem:{REGION}:{kind}/1"
                self.may(
                    role,
                    environment,
                    "elasticfilesystem:TagResource",
                    resource,
                    gives=given,
                    keys={"elasticfilesystem:CreateAction": "CreateFileSystem"},
                )
                self.may_not(role, environment, "elasticfilesystem:TagResource", resource, gives=given)
                self.may_not(
                    role,
                    environment,
                    "elasticfilesystem:TagResource",
                    resource,
                    gives=given,
                    has=tag(OTHER[environment]),
                )
            for action, resource in [
                ("acm:AddTagsToCertificate", f"arn:aws:acm:{REGION}:certificate/1-2"),
                ("backup:TagResource", f"arn:aws:backup:{REGION}:backup-plan:1-2"),
                ("cognito-idp:TagResource", f"arn:aws:cognito-idp:{REGION}:userpool/eu-central-1_1"),
                ("kms:TagResource", f"arn:aws:kms:{REGION}:key/1-2"),
            ]:
                self.may(role, environment, action, resource, gives=given)
                self.may_not(role, environment, action, resource, gives=given, has=tag(OTHER[environment]))
            key = f"arn:aws:kms:{REGION}:key/1-2"
            self.may_not(
                role, environment, "kms:TagResource", key, gives=given, keys={"kms:ResourceAliases": ["alias/billing"]}
            )

    def test_it_changes_records_in_its_zones_only(self):
        for environment, role in self.roles.items():
            action = "route53:ChangeResourceRecordSets"
            self.may(role, environment, action, f"arn:aws:route53:::hostedzone/{zone(environment)}")
            self.may_not(role, environment, action, f"arn:aws:route53:::hostedzone/{zone(OTHER[environment])}")
            self.may_not(role, environment, action, "arn:aws:route53:::hostedzone/Z0OTHER")
            self.may_not(
                role,
                environment,
                "route53:AssociateVPCWithHostedZone",
                f"arn:aws:route53:::hostedzone/{zone(OTHER[environment])}",
            )

    def test_it_uses_the_master_secret_of_its_own_cluster_only(self):
        secret = f"arn:aws:secretsmanager:{REGION}:secret:rds!cluster-1-2-AbCdEf"
        for environment, role in self.roles.items():
            for action in ("secretsmanager:GetSecretValue", "secretsmanager:RotateSecret"):
                self.may(role, environment, action, secret, has=master_secret(environment))
                self.may_not(role, environment, action, secret, has=master_secret(OTHER[environment]))
                self.may_not(role, environment, action, secret)
            self.may_not(role, environment, "secretsmanager:TagResource", secret, has=master_secret(OTHER[environment]))
            self.may_not(
                role,
                environment,
                "secretsmanager:GetSecretValue",
                secret.replace("rds!cluster", "hello"),
                has=tag(environment),
            )

    def test_it_makes_no_role_without_its_boundary_and_removes_none(self):
        for environment, role in self.roles.items():
            own, others = ({"iam:PermissionsBoundary": boundary_arn(one)} for one in (environment, OTHER[environment]))
            resource = f"{ROLE}/hello-birthday-{environment}-eu-central-1-instance"
            for action in [
                "iam:AttachRolePolicy",
                "iam:CreateRole",
                "iam:DeleteRole",
                "iam:DeleteRolePolicy",
                "iam:PutRolePermissionsBoundary",
                "iam:PutRolePolicy",
                "iam:UpdateAssumeRolePolicy",
            ]:
                self.may(role, environment, action, resource, keys=own)
                self.may_not(role, environment, action, resource, keys=others)
                self.may_not(role, environment, action, resource)
                for name in [
                    f"hello-birthday-{OTHER[environment]}-x",
                    "billing",
                    # Its own role, and those beside it.
                    f"terraform/hello-birthday-apply-{environment}",
                    "terraform/hello-birthday-plan",
                    "terraform/hello-birthday-bake",
                ]:
                    self.may_not(role, environment, action, f"{ROLE}/{name}", keys=own)
            self.may_not(role, environment, "iam:DeleteRolePermissionsBoundary", resource, keys=own)
            for action in (
                "iam:CreatePolicy",
                "iam:CreatePolicyVersion",
                "iam:DeletePolicy",
                "iam:SetDefaultPolicyVersion",
            ):
                self.may_not(role, environment, action, boundary_arn(environment))
            for action, kind in [
                ("iam:CreateUser", "user/hello-birthday"),
                ("iam:CreateGroup", "group/hello-birthday"),
            ]:
                self.may_not(role, environment, action, f"arn:aws:iam::{ACCOUNT}:{kind}-{environment}-x")

    def test_it_gives_its_own_roles_to_the_services_of_its_stack(self):
        for environment, role in self.roles.items():
            own = f"{ROLE}/hello-birthday-{environment}-eu-central-1-backup"
            for service in ("backup", "ec2", "monitoring.rds", "vpc-flow-logs"):
                given = {"iam:PassedToService": f"{service}.amazonaws.com"}
                self.may(role, environment, "iam:PassRole", own, keys=given)
                for other in (
                    f"hello-birthday-{OTHER[environment]}-eu-central-1-backup",
                    f"terraform/hello-birthday-apply-{environment}",
                    "admin",
                ):
                    self.may_not(role, environment, "iam:PassRole", f"{ROLE}/{other}", keys=given)
            self.may_not(role, environment, "iam:PassRole", own, keys={"iam:PassedToService": "lambda.amazonaws.com"})

    def test_its_group_receives_no_requests_of_another_load_balancer(self):
        for environment, role in self.roles.items():
            resource = (
                f"arn:aws:autoscaling:{REGION}:autoScalingGroup:1-2:autoScalingGroupName/hello-birthday-{environment}"
            )
            for action, key in [
                ("autoscaling:AttachLoadBalancerTargetGroups", "autoscaling:TargetGroupARNs"),
                ("autoscaling:AttachTrafficSources", "autoscaling:TrafficSourceIdentifiers"),
                ("autoscaling:CreateAutoScalingGroup", "autoscaling:TargetGroupARNs"),
            ]:
                own, others = (
                    [f"arn:aws:elasticloadbalancing:{REGION}:targetgroup/hello-birthday-{one}/1"]
                    for one in (environment, OTHER[environment])
                )
                self.may(role, environment, action, resource, keys={key: own})
                self.may_not(role, environment, action, resource, keys={key: own + others})

    def test_it_does_nothing_that_no_apply_does(self):
        own_instance = {"has": tag("staging")}
        role = self.roles["staging"]
        for action, resource, more in [
            ("backup:DeleteRecoveryPoint", f"arn:aws:backup:{REGION}:recovery-point:1", own_instance),
            ("backup:StartCopyJob", f"arn:aws:backup:{REGION}:recovery-point:1", own_instance),
            ("backup:StartRestoreJob", f"arn:aws:backup:{REGION}:recovery-point:1", own_instance),
            ("ec2:AcceptVpcPeeringConnection", f"{EC2}:vpc/vpc-1", own_instance),
            ("ec2:CreateVpcPeeringConnection", f"{EC2}:vpc/vpc-1", own_instance),
            ("ec2:DeleteNetworkInterface", f"{EC2}:network-interface/eni-1", {}),
            ("kms:Decrypt", f"arn:aws:kms:{REGION}:key/state", {}),
            ("rds-db:connect", f"arn:aws:rds-db:{REGION}:dbuser:cluster-1/hello", own_instance),
            (
                "rds:DeleteDBClusterSnapshot",
                f"arn:aws:rds:{REGION}:cluster-snapshot:hello-birthday-staging-final-1",
                own_instance,
            ),
            ("rds:RestoreDBClusterFromSnapshot", cluster("staging"), own_instance),
            ("s3:DeleteObject", f"{STATES}/stacks/staging.tfstate", {}),
            ("s3:GetObject", f"{STATES}/bootstrap.tfstate", {}),
            ("s3:GetObject", f"arn:aws:s3:::hello-birthday-staging-logs-{ACCOUNT}-eu-central-1/a", {}),
            ("s3:PutBucketPolicy", STATES, {}),
            ("ssm:GetParameter", f"arn:aws:ssm:{REGION}:parameter/hello-birthday/staging/copy-from", {}),
            ("ssm:SendCommand", f"{EC2}:instance/i-1", own_instance),
            ("ssm:StartSession", f"{EC2}:instance/i-1", own_instance),
            ("sts:AssumeRole", f"{ROLE}/hello-birthday-staging-x", {}),
        ]:
            self.may_not(role, "staging", action, resource, **more)


# What the roles of a stack do, by name and by tag.
ROLES_BY_NAME = {
    f"arn:aws:logs:{REGION}:log-group:/hello-birthday-{{}}/service:log-stream:i-1": [
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    ],
    f"arn:aws:logs:{REGION}:log-group:/hello-birthday-{{}}/service:log-stream:": ["logs:DescribeLogStreams"],
    f"arn:aws:logs:{REGION}:log-group:/hello-birthday-{{}}/flow-logs:log-stream:eni-1": [
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    ],
    f"arn:aws:ssm:{REGION}:parameter/hello-birthday/{{}}/copy-from": [
        "ssm:GetParameter",
        "ssm:GetParameters",
        "ssm:GetParametersByPath",
    ],
    f"arn:aws:rds:{REGION}:cluster:hello-birthday-{{}}": ["rds:CreateDBClusterSnapshot"],
    f"arn:aws:backup:{REGION}:backup-vault:hello-birthday-{{}}": [
        "backup:CopyIntoBackupVault",
        "backup:DescribeBackupVault",
    ],
}
ROLES_BY_TAG = {
    f"arn:aws:kms:{REGION}:key/1-2": ["kms:CreateGrant", "kms:Decrypt", "kms:GenerateDataKey"],
    f"arn:aws:rds-db:{REGION}:dbuser:cluster-ABCDEFGHIJKL/hello": ["rds-db:connect"],
    f"arn:aws:rds-db:{REGION}:dbuser:cluster-ABCDEFGHIJKL/hello_owner": ["rds-db:connect"],
    f"arn:aws:elasticfilesystem:{REGION}:file-system/fs-1": [
        "elasticfilesystem:Backup",
        "elasticfilesystem:ClientMount",
        "elasticfilesystem:ClientWrite",
        "elasticfilesystem:Restore",
    ],
    f"arn:aws:rds:{REGION}:cluster-snapshot:awsbackup:job-1": [
        "rds:DeleteDBClusterSnapshot",
        "rds:RestoreDBClusterFromSnapshot",
    ],
}


class MadeRole(Cases):
    """A role that an apply role made, with its boundary and every right otherwise."""

    def setUp(self):
        everything = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        self.roles = {
            environment: Role([everything], read_policy(iam, boundary_arn(environment)), {})
            for environment in ENVIRONMENTS
        }

    def test_it_does_what_the_roles_of_its_stack_do_and_to_no_other(self):
        for environment, role in self.roles.items():
            for resource, actions in ROLES_BY_NAME.items():
                for action in actions:
                    self.may(role, environment, action, resource.format(environment))
                    for other in (OTHER[environment], f"{environment}2"):
                        self.may_not(role, environment, action, resource.format(other))
            for resource, actions in ROLES_BY_TAG.items():
                for action in actions:
                    self.may(role, environment, action, resource, has=tag(environment))
                    self.may_not(role, environment, action, resource, has=tag(OTHER[environment]))
                    # Of file systems the policy of each decides, where EFS tells no tags.
                    self.expect(":file-system/" in resource, role, environment, action, resource)
            metrics = "cloudwatch:PutMetricData"
            self.may(role, environment, metrics, keys={"cloudwatch:namespace": f"hello-birthday-{environment}"})
            self.may_not(
                role, environment, metrics, keys={"cloudwatch:namespace": f"hello-birthday-{OTHER[environment]}"}
            )
            self.may_not(role, environment, metrics)

    def test_it_takes_no_backup_of_another_stack_over(self):
        for environment, role in self.roles.items():
            point, snapshot = (
                f"arn:aws:backup:{REGION}:recovery-point:1",
                f"arn:aws:rds:{REGION}:cluster-snapshot:awsbackup:job-1",
            )
            for action, resource in [
                ("backup:CopyFromBackupVault", point),
                ("backup:TagResource", point),
                ("rds:AddTagsToResource", snapshot),
                ("rds:CopyDBClusterSnapshot", snapshot),
            ]:
                self.may(role, environment, action, resource, has=tag(environment))
                self.may(role, environment, action, resource)
                self.may_not(role, environment, action, resource, has=tag(OTHER[environment]))
            self.may_not(role, environment, "rds:AddTagsToResource", snapshot, gives=tag(OTHER[environment]))

    def test_it_does_nothing_of_what_applies_change(self):
        needed = {action for actions in [*ROLES_BY_NAME.values(), *ROLES_BY_TAG.values()] for action in actions}
        # A restore gives a new cluster its tags.
        needed.add("rds:AddTagsToResource")
        for environment, role in self.roles.items():
            for one in ENVIRONMENTS:
                for resource, actions in BY_NAME.items():
                    for action in set(actions) - needed:
                        self.may_not(role, environment, action, resource.format(one))
                for resource, actions in BY_TAG.items():
                    for action in set(actions) - needed:
                        self.may_not(role, environment, action, resource, has=tag(one))

    def test_it_gains_no_rights_and_reads_no_secrets(self):
        secret = f"arn:aws:secretsmanager:{REGION}:secret:rds!cluster-1-2-AbCdEf"
        for environment, role in self.roles.items():
            for one in ENVIRONMENTS:
                for action, resource, more in [
                    ("backup:DeleteRecoveryPoint", f"arn:aws:backup:{REGION}:recovery-point:1", {"has": tag(one)}),
                    ("backup:StartCopyJob", f"arn:aws:backup:{REGION}:recovery-point:1", {"has": tag(one)}),
                    ("backup:StartRestoreJob", f"arn:aws:backup:{REGION}:recovery-point:1", {"has": tag(one)}),
                    ("ec2:TerminateInstances", f"{EC2}:instance/i-1", {"has": tag(one)}),
                    (
                        "iam:CreateRole",
                        f"{ROLE}/hello-birthday-{one}-x",
                        {"keys": {"iam:PermissionsBoundary": boundary_arn(environment)}},
                    ),
                    (
                        "iam:PassRole",
                        f"{ROLE}/hello-birthday-{one}-x",
                        {"keys": {"iam:PassedToService": "ec2.amazonaws.com"}},
                    ),
                    ("iam:PutRolePolicy", f"{ROLE}/hello-birthday-{one}-x", {}),
                    (
                        "logs:GetLogEvents",
                        f"arn:aws:logs:{REGION}:log-group:/hello-birthday-{one}/service:log-stream:a",
                        {},
                    ),
                    ("rds-data:ExecuteStatement", cluster(one), {}),
                    ("rds:DeleteDBCluster", cluster(one), {}),
                    ("rds:ModifyDBCluster", cluster(one), {}),
                    ("s3:GetObject", f"{STATES}/stacks/{one}.tfstate", {}),
                    ("s3:GetObject", f"arn:aws:s3:::hello-birthday-{one}-logs-{ACCOUNT}-eu-central-1/a", {}),
                    ("secretsmanager:GetSecretValue", secret, {"has": master_secret(one)}),
                    ("ssm:SendCommand", f"{EC2}:instance/i-1", {"has": tag(one)}),
                    ("ssm:StartSession", f"{EC2}:instance/i-1", {"has": tag(one)}),
                    ("sts:AssumeRole", f"{ROLE}/hello-birthday-{one}-x", {}),
                    ("sts:AssumeRole", f"{ROLE}/terraform/hello-birthday-apply-{one}", {}),
                ]:
                    self.may_not(role, environment, action, resource, **more)


class AwsRoles(Cases):
    """The services' own policies of AWS, within a stack's boundary."""

    def role(self, *names):
        policies = [read_policy(iam, f"arn:aws:iam::aws:policy/service-role/{name}") for name in names]
        return Role(policies, read_policy(iam, boundary_arn("staging")), {"aws:PrincipalAccount": ACCOUNT})

    def test_aws_backup_backs_up_copies_and_restores(self):
        role = self.role("AWSBackupServiceRolePolicyForBackup", "AWSBackupServiceRolePolicyForRestores")
        own, key = {"has": tag("staging")}, f"arn:aws:kms:{REGION}:key/1-2"
        grant = {"keys": {"kms:GrantIsForAWSResource": "true"}}
        snapshot = f"arn:aws:rds:{REGION}:cluster-snapshot:awsbackup:job-1"
        for action, resource, more in [
            ("backup:CopyFromBackupVault", f"arn:aws:backup:{REGION}:recovery-point:1", own),
            (
                "backup:CopyIntoBackupVault",
                f"arn:aws:backup:eu-west-1:{ACCOUNT}:backup-vault:hello-birthday-staging",
                {},
            ),
            ("backup:DescribeBackupVault", f"arn:aws:backup:{REGION}:backup-vault:hello-birthday-last-backups", {}),
            ("backup:TagResource", f"arn:aws:backup:{REGION}:recovery-point:1", {"gives": tag("staging")}),
            ("elasticfilesystem:Backup", f"arn:aws:elasticfilesystem:{REGION}:file-system/fs-1", own),
            ("elasticfilesystem:Restore", f"arn:aws:elasticfilesystem:{REGION}:file-system/fs-1", own),
            ("kms:CreateGrant", key, {**own, **grant}),
            ("kms:CreateGrant", key, {"keys": {**grant["keys"], "kms:ResourceAliases": ["alias/aws/rds"]}}),
            ("kms:DescribeKey", key, own),
            ("rds:AddTagsToResource", snapshot, {"gives": tag("staging")}),
            ("rds:CopyDBClusterSnapshot", snapshot, {"gives": tag("staging")}),
            ("rds:CreateDBClusterSnapshot", cluster("staging"), {}),
            ("rds:CreateDBClusterSnapshot", snapshot, {"gives": tag("staging")}),
            ("rds:DeleteDBClusterSnapshot", snapshot, own),
            ("rds:DescribeDBClusterSnapshots", f"arn:aws:rds:{REGION}:cluster-snapshot:*", {}),
            ("rds:DescribeDBClusters", f"arn:aws:rds:{REGION}:cluster:*", {}),
            ("rds:ListTagsForResource", cluster("staging"), {}),
            ("rds:RestoreDBClusterFromSnapshot", f"arn:aws:rds:{REGION}:cluster:hello-birthday-staging-restored", {}),
            ("rds:RestoreDBClusterFromSnapshot", snapshot, own),
            ("tag:GetResources", "*", {}),
        ]:
            self.may(role, "AWS Backup", action, resource, **more)

    def test_rds_sends_the_metrics_of_its_hosts(self):
        role = self.role("AmazonRDSEnhancedMonitoringRole")
        group = f"arn:aws:logs:{REGION}:log-group:RDSOSMetrics"
        for action in ("logs:CreateLogGroup", "logs:PutRetentionPolicy"):
            self.may(role, "RDS", action, group)
        for action in ("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:GetLogEvents", "logs:PutLogEvents"):
            self.may(role, "RDS", action, f"{group}:log-stream:db-1")


class StackRoles(Cases):
    """The instance role of a stack that was applied, with its boundary."""

    def test_an_instance_does_its_work_and_nothing_for_another_stack(self):
        role = read_role(iam, "hello-birthday-staging-eu-central-1-instance")
        self.assertIsNotNone(role.boundary)
        named = {
            resource: actions
            for resource, actions in ROLES_BY_NAME.items()
            if ":logs:" in resource and "service" in resource or ":ssm:" in resource
        }
        for resource, actions in named.items():
            for action in actions:
                self.may(role, "instance", action, resource.format("staging"))
                self.may_not(role, "instance", action, resource.format("production"))
        for action in ("ssm:UpdateInstanceInformation", "ssmmessages:OpenDataChannel"):
            self.may(role, "instance", action)
        self.may(role, "instance", "cloudwatch:PutMetricData", keys={"cloudwatch:namespace": "hello-birthday-staging"})
        self.may_not(
            role, "instance", "cloudwatch:PutMetricData", keys={"cloudwatch:namespace": "hello-birthday-production"}
        )
        for bucket in ("states", "logs"):
            self.may_not(role, "instance", "s3:GetObject", f"arn:aws:s3:::{bucket}/a")


class PlanRole(Cases):
    def setUp(self):
        self.role = bootstrap_role("plan")

    def test_it_only_reads(self):
        for statement in (
            one for policy in self.role.policies for one in policy["Statement"] if one["Effect"] == "Allow"
        ):
            for action in [action for pattern in many(statement["Action"]) for action in reference.actions_of(pattern)]:
                # Of states alone, see below.
                if action != "kms:Decrypt":
                    self.assertTrue(reference.only_reads(action), action)

    def test_it_reads_which_images_are_released_and_records_none(self):
        for environment in ENVIRONMENTS:
            for action in ("ssm:GetParameter", "ssm:GetParameterHistory", "ssm:ListTagsForResource"):
                self.may(self.role, "plan", action, record(environment))
            for action in ("ssm:DeleteParameter", "ssm:LabelParameterVersion", "ssm:PutParameter"):
                self.may_not(self.role, "plan", action, record(environment))
            folder = f"arn:aws:ssm:{REGION}:parameter/hello-birthday/{environment}"
            self.may_not(self.role, "plan", "ssm:GetParametersByPath", folder)
            self.may_not(self.role, "plan", "ssm:GetParameterHistory", f"{folder}/copy-from")
        self.may_not(self.role, "plan", "ssm:GetParameter", record("other"))

    def test_it_reads_states_and_no_other_data(self):
        for environment in ENVIRONMENTS:
            self.may(self.role, "plan", "s3:GetObject", f"{STATES}/stacks/{environment}.tfstate")
            self.may_not(self.role, "plan", "s3:PutObject", f"{STATES}/stacks/{environment}.tfstate")
            self.may_not(self.role, "plan", "s3:PutObject", f"{STATES}/stacks/{environment}.tfstate.tflock")
            secret = f"arn:aws:secretsmanager:{REGION}:secret:rds!cluster-1-2-AbCdEf"
            for action, resource, more in [
                (
                    "elasticfilesystem:ClientMount",
                    f"arn:aws:elasticfilesystem:{REGION}:file-system/fs-1",
                    {"has": tag(environment)},
                ),
                (
                    "kms:Decrypt",
                    f"arn:aws:kms:{REGION}:key/1-2",
                    {"has": tag(environment), "keys": {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}},
                ),
                (
                    "logs:GetLogEvents",
                    f"arn:aws:logs:{REGION}:log-group:/hello-birthday-{environment}/service:log-stream:a",
                    {},
                ),
                ("logs:StartQuery", f"arn:aws:logs:{REGION}:log-group:/hello-birthday-{environment}/service", {}),
                ("rds-data:ExecuteStatement", cluster(environment), {}),
                ("rds-db:connect", f"arn:aws:rds-db:{REGION}:dbuser:cluster-1/hello", {"has": tag(environment)}),
                ("s3:GetObject", f"arn:aws:s3:::hello-birthday-{environment}-logs-{ACCOUNT}-eu-central-1/a", {}),
                ("s3:GetObject", f"{STATES}/bootstrap.tfstate", {}),
                ("secretsmanager:BatchGetSecretValue", "*", {}),
                ("secretsmanager:GetSecretValue", secret, {"has": master_secret(environment)}),
                ("ssm:GetParameter", f"arn:aws:ssm:{REGION}:parameter/hello-birthday/{environment}/copy-from", {}),
                ("ssm:StartSession", f"{EC2}:instance/i-1", {"has": tag(environment)}),
            ]:
                self.may_not(self.role, "plan", action, resource, **more)


class BakeRole(Cases):
    def setUp(self):
        self.role = bootstrap_role("bake")
        self.purpose = {"Purpose": "bake"}

    def test_it_does_what_packer_does(self):
        own, new = {"has": self.purpose}, {"gives": {**self.purpose, "Service": "hello-birthday"}}
        image, snapshot = "arn:aws:ec2:eu-central-1::image/ami-1", "arn:aws:ec2:eu-central-1::snapshot/snap-1"
        instance, key, group = f"{EC2}:instance/i-1", f"{EC2}:key-pair/packer_1-2", f"{EC2}:security-group/sg-1"
        profile = f"arn:aws:iam::{ACCOUNT}:instance-profile/terraform/hello-birthday-bake-instance"
        for action, resource, more in [
            ("ec2:DescribeImages", "*", {}),
            ("iam:GetInstanceProfile", profile, {}),
            ("ec2:CreateKeyPair", key, new),
            ("ec2:CreateTags", key, {**new, "keys": {"ec2:CreateAction": "CreateKeyPair"}}),
            ("ec2:CreateSecurityGroup", f"{EC2}:vpc/vpc-1", {}),
            ("ec2:CreateSecurityGroup", f"{EC2}:security-group/*", new),
            ("ec2:RunInstances", f"{EC2}:instance/*", new),
            ("ec2:RunInstances", f"{EC2}:volume/*", {}),
            ("ec2:RunInstances", f"{EC2}:network-interface/*", {}),
            ("ec2:RunInstances", f"{EC2}:subnet/subnet-1", {}),
            ("ec2:RunInstances", group, own),
            ("ec2:RunInstances", key, {}),
            ("ec2:RunInstances", image, {}),
            ("ec2:CreateTags", f"{EC2}:instance/*", {**new, "keys": {"ec2:CreateAction": "RunInstances"}}),
            (
                "iam:PassRole",
                f"{ROLE}/terraform/hello-birthday-bake-instance",
                {"keys": {"iam:PassedToService": "ec2.amazonaws.com"}},
            ),
            ("ssm:StartSession", instance, {**own, "keys": {"ssm:SessionDocumentAccessCheck": "true"}}),
            ("ssm:StartSession", "arn:aws:ssm:eu-central-1::document/AWS-StartPortForwardingSession", {}),
            ("ssm:TerminateSession", f"arn:aws:ssm:{REGION}:session/{self.role.session['aws:userid']}-1", {}),
            ("ec2:StopInstances", instance, own),
            ("ec2:CreateImage", instance, own),
            ("ec2:CreateImage", image, new),
            ("ec2:CreateImage", snapshot, new),
            ("ec2:CreateTags", image, {**own, "gives": {"Version": "1"}}),
            ("ec2:CopyImage", image, {}),
            ("ec2:CreateTags", snapshot, {"gives": {"Service": "hello-birthday"}}),
            ("ec2:ModifyImageAttribute", image, own),
            ("ec2:EnableImageDeprecation", image, own),
            ("ec2:DeregisterImage", image, own),
            ("ec2:DeleteSnapshot", snapshot, own),
            ("ec2:TerminateInstances", instance, own),
            ("ec2:DeleteSecurityGroup", group, own),
            ("ec2:DeleteKeyPair", key, {}),
        ]:
            self.may(self.role, "bake", action, resource, **more)

    def test_it_touches_no_stack_and_nothing_else_that_it_did_not_make(self):
        image, snapshot = "arn:aws:ec2:eu-central-1::image/ami-1", "arn:aws:ec2:eu-central-1::snapshot/snap-1"
        forwarding = {"ssm:SessionDocumentAccessCheck": "true"}
        for has in (
            {"Environment": "production", "Service": "hello-birthday"},
            {"Environment": "production", **self.purpose},
            {"Name": "billing"},
            None,
        ):
            for action, resource, keys in [
                ("ec2:CreateImage", f"{EC2}:instance/i-1", {}),
                ("ec2:CreateTags", f"{EC2}:instance/i-1", {}),
                ("ec2:DeleteSecurityGroup", f"{EC2}:security-group/sg-1", {}),
                ("ec2:DeleteSnapshot", snapshot, {}),
                ("ec2:DeregisterImage", image, {}),
                ("ec2:ModifyImageAttribute", image, {}),
                ("ec2:ModifySnapshotAttribute", snapshot, {}),
                ("ec2:RunInstances", f"{EC2}:security-group/sg-1", {}),
                ("ec2:StopInstances", f"{EC2}:instance/i-1", {}),
                ("ec2:TerminateInstances", f"{EC2}:instance/i-1", {}),
                ("ssm:StartSession", f"{EC2}:instance/i-1", forwarding),
            ]:
                self.may_not(self.role, "bake", action, resource, has=has, keys=keys)
            self.may_not(self.role, "bake", "ec2:CreateTags", snapshot, has=has, gives=self.purpose)
        for kind in ("subnet/subnet-1", "vpc/vpc-1"):
            self.may_not(
                self.role,
                "bake",
                "ec2:RunInstances" if "subnet" in kind else "ec2:CreateSecurityGroup",
                f"{EC2}:{kind}",
                has=tag("staging"),
            )
        session = {"ssm:SessionDocumentAccessCheck": "false"}
        for action, resource, more in [
            ("ec2:RunInstances", f"{EC2}:instance/*", {"gives": {"Name": "a"}}),
            (
                "iam:PassRole",
                f"{ROLE}/hello-birthday-staging-eu-central-1-instance",
                {"keys": {"iam:PassedToService": "ec2.amazonaws.com"}},
            ),
            ("iam:PutRolePolicy", f"{ROLE}/terraform/hello-birthday-bake-instance", {}),
            (
                "autoscaling:StartInstanceRefresh",
                f"arn:aws:autoscaling:{REGION}:autoScalingGroup:1:autoScalingGroupName/hello-birthday-staging",
                {},
            ),
            ("s3:GetObject", f"{STATES}/stacks/staging.tfstate", {}),
            (
                "secretsmanager:GetSecretValue",
                f"arn:aws:secretsmanager:{REGION}:secret:rds!cluster-1-2-AbCdEf",
                {"has": master_secret("staging")},
            ),
            ("ssm:StartSession", f"{EC2}:instance/i-1", {"has": self.purpose, "keys": session}),
            ("ssm:TerminateSession", f"arn:aws:ssm:{REGION}:session/someone-1", {}),
        ]:
            self.may_not(self.role, "bake", action, resource, **more)

    def test_the_instance_that_is_baked_can_only_be_reached(self):
        role = bootstrap_role("bake-instance")
        self.may(role, "instance", "ssmmessages:OpenDataChannel")
        self.may_not(
            role, "instance", "ssm:GetParameter", f"arn:aws:ssm:{REGION}:parameter/hello-birthday/staging/copy-from"
        )


class RetireRole(Cases):
    IMAGE, SNAPSHOT = "arn:aws:ec2:eu-central-1::image/ami-1", "arn:aws:ec2:eu-central-1::snapshot/snap-1"

    def setUp(self):
        self.role = bootstrap_role("retire")

    def test_it_removes_images_of_the_service_and_no_others(self):
        for action, resource in [("ec2:DeregisterImage", self.IMAGE), ("ec2:DeleteSnapshot", self.SNAPSHOT)]:
            self.may(self.role, "retire", action, resource, has={"Service": "hello-birthday"})
            for has in ({"Service": "hello-birthday", **tag("staging")}, {"Service": "billing"}, None):
                self.may_not(self.role, "retire", action, resource, has=has)

    def test_it_sees_what_uses_an_image(self):
        for what in ("Images", "ImageAttribute", "Instances", "LaunchTemplates", "LaunchTemplateVersions", "Snapshots"):
            self.may(self.role, "retire", f"ec2:Describe{what}")
        self.may(self.role, "retire", "ssm:DescribeParameters")
        for environment in ENVIRONMENTS:
            self.may(self.role, "retire", "ssm:GetParameterHistory", record(environment))

    def test_it_changes_nothing_else_and_reads_no_data(self):
        own = {"has": {"Service": "hello-birthday"}}
        for action, resource, more in [
            ("ec2:CreateTags", self.IMAGE, own),
            ("ec2:DeleteLaunchTemplateVersions", f"{EC2}:launch-template/lt-1", {"has": tag("staging")}),
            ("ec2:ModifyImageAttribute", self.IMAGE, own),
            ("ec2:TerminateInstances", f"{EC2}:instance/i-1", own),
            ("s3:GetObject", f"{STATES}/stacks/staging.tfstate", {}),
            ("ssm:GetParameterHistory", f"arn:aws:ssm:{REGION}:parameter/hello-birthday/staging/copy-from", {}),
            ("ssm:PutParameter", record("staging"), {}),
        ]:
            self.may_not(self.role, "retire", action, resource, **more)


class Trust(Cases):
    def test_each_role_trusts_the_jobs_that_it_is_for(self):
        provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
        repository = "repo:example/hello-birthday"
        jobs = {
            f"{repository}:pull_request": {"plan"},
            f"{repository}:ref:refs/heads/main": {"bake", "plan", "retire"},
            f"{repository}:ref:refs/heads/main2": {"plan"},
            f"{repository}:ref:refs/tags/main": set(),
            f"{repository}:environment:staging": {"apply-staging"},
            f"{repository}:environment:production": {"apply-production"},
            f"{repository}:environment:staging2": set(),
            f"{repository}-fork:environment:staging": set(),
            "repo:other/hello-birthday:ref:refs/heads/main": set(),
        }
        for subject, expected in jobs.items():
            for audience in ("sts.amazonaws.com", "other"):
                token = {
                    "token.actions.githubusercontent.com:sub": subject,
                    "token.actions.githubusercontent.com:aud": audience,
                }
                trusting = {
                    name
                    for name in ("plan", "bake", "retire", "apply-staging", "apply-production")
                    if trusts(self.document(name), provider, token)
                }
                self.assertEqual(trusting, expected if audience == "sts.amazonaws.com" else set(), subject)

    def document(self, name):
        return iam.get_role(RoleName=f"hello-birthday-{name}")["Role"]["AssumeRolePolicyDocument"]


class Quotas(Cases):
    """reference_iam-quotas.html of the IAM User Guide. White space does not count."""

    def size(self, document):
        """With the longest name that an environment may have."""
        return len(json.dumps(document, separators=(",", ":")).replace("production", "p" * 12))

    def test_policies_and_roles_keep_to_them(self):
        names = ["plan", "bake", "bake-instance", "retire", *(f"apply-{environment}" for environment in ENVIRONMENTS)]
        for name in (f"hello-birthday-{one}" for one in names):
            own = iam.list_role_policies(RoleName=name)["PolicyNames"]
            sizes = {
                one: self.size(iam.get_role_policy(RoleName=name, PolicyName=one)["PolicyDocument"]) for one in own
            }
            self.assertLessEqual(sum(sizes.values()), 10240, f"{name}: {sizes}")
            role = iam.get_role(RoleName=name)["Role"]
            self.assertLessEqual(self.size(role["AssumeRolePolicyDocument"]), 2048, name)
            attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
            self.assertLessEqual(len(attached), 10, name)
            print(name, sizes, [one["PolicyName"] for one in attached])
        found = iam.list_policies(Scope="Local", PathPrefix="/terraform/")["Policies"]
        self.assertEqual(len(found), 1 + 4 * len(ENVIRONMENTS))
        for policy in found:
            size = self.size(read_policy(iam, policy["Arn"]))
            print(policy["PolicyName"], size)
            self.assertLessEqual(size, 6144, policy["PolicyName"])


class Known(Cases):
    """A rule about an action or a key that IAM does not know would be no rule."""

    def test_policies_name_actions_resources_and_condition_keys_of_the_reference(self):
        documents = [
            read_policy(iam, one["Arn"])
            for one in iam.list_policies(Scope="Local", PathPrefix="/terraform/")["Policies"]
        ]
        names = ["plan", "bake", "bake-instance", "retire", *(f"apply-{environment}" for environment in ENVIRONMENTS)]
        documents += [policy for name in names for policy in bootstrap_role(name).policies]
        for statement in (one for document in documents for one in document["Statement"] if one["Action"] != "*"):
            keys = [key for operator in statement.get("Condition", {}).values() for key in operator]
            for pattern in many(statement["Action"]):
                actions = reference.actions_of(pattern)
                self.assertTrue(actions, f"no action is called {pattern}")
                found = [
                    action for action in actions if reference.has_resource(action, many(statement.get("Resource", "*")))
                ]
                self.assertTrue(found, f"{statement['Sid']}: {pattern} has no such resource")
                for key in keys if statement["Effect"] == "Allow" else []:
                    known = [action for action in actions if reference.knows(reference.condition_keys(action), key)]
                    self.assertTrue(known, f"{statement['Sid']}: {pattern} has no {key}")


if __name__ == "__main__":
    unittest.main()
