"""What a call of AWS's API asks of IAM: each action, on each resource, with what it tells of
both. After the service authorization reference, which names the resources of an action,
and the guides of the services for what they ask of others in the name of the caller.

A call that is not here is refused, so that a new kind of resource is looked up and added.
"""

from dataclasses import dataclass, field

import reference

ACCOUNT = "123456789012"

# What IAM calls a service where that differs from the name by which requests are signed.
PREFIXES = {"monitoring": "cloudwatch"}

READS = ("Describe", "Get", "Head", "List")


@dataclass
class Request:
    action: str
    resource: str
    # Tags that the request gives, and tags that the resource has already.
    gives: dict | None = None
    has: dict | None = None
    keys: dict = field(default_factory=dict)

    def context(self):
        """What IAM compares with conditions: no key that the reference does not name."""
        keys = {"aws:ResourceAccount": ACCOUNT, "aws:ViaAWSService": "false", **self.keys}
        if self.gives is not None:
            keys |= {f"aws:RequestTag/{name}": value for name, value in self.gives.items()}
            keys["aws:TagKeys"] = list(self.gives)
        prefix = self.action.split(":")[0]
        for name, value in (self.has or {}).items():
            for family in ("aws:ResourceTag", f"{prefix}:ResourceTag", f"{prefix}:resourceTag"):
                keys[f"{family}/{name}"] = value
        known = reference.condition_keys(self.action, None if self.resource == "*" else self.resource)
        if known is None:
            raise LookupError(f"{self.action} knows no {self.resource}")
        return {name: value for name, value in keys.items() if reference.knows(known, name)}


class Asking:
    """Collects what one call asks."""

    def __init__(self, call, world):
        self.call, self.world, self.parameters = call, world, call.parameters
        self.requests = []

    def arn(self, service, rest, region=None):
        return f"arn:aws:{service}:{self.call.region if region is None else region}:{ACCOUNT}:{rest}"

    def ask(self, action, *resources, **more):
        self.requests += [Request(action, resource, **more) for resource in resources]

    def named(self, name):
        """The values of a parameter, of which there may be none."""
        value = self.parameters.get(name)
        return [] if value in (None, "") else value if isinstance(value, list) else [value]

    def pass_role(self, arn, service):
        self.ask("iam:PassRole", arn, keys={"iam:PassedToService": service})

    def use_key(self, *names):
        """A key of KMS that a service is to encrypt with, which takes a grant."""
        for name in names:
            for key in self.named(name):
                for action in ("kms:CreateGrant", "kms:Decrypt", "kms:GenerateDataKey"):
                    self.ask(action, self.key(key), has=self.world.tags("kms", self.key(key)))

    def key(self, id):
        return id if id.startswith("arn:") else self.arn("kms", f"key/{id}")


def requests_of(call, world):
    asked = Asking(call, world)
    prefix = PREFIXES.get(call.service, call.service)
    rule = RULES.get(f"{prefix}:{call.operation}")
    if rule:
        rule(asked)
    elif prefix == "ec2" and call.operation in EC2:
        ask_ec2(asked)
    elif prefix == "s3":
        ask_s3(asked)
    elif prefix in BY_ARN and call.operation in BY_ARN[prefix]:
        ask_by_arn(asked, prefix)
    elif f"{prefix}:{call.operation}" == "sts:GetCallerIdentity":
        pass
    elif call.operation.startswith(READS):
        # The roles read the settings of the account, without a rule for each resource.
        asked.ask(f"{prefix}:{call.operation}", "*")
    else:
        raise LookupError(f"no rule in {__file__}")
    return asked.requests


def tags(value):
    """Tags as a dictionary, in whichever of AWS's forms."""
    if isinstance(value, dict):
        return value
    return {one.get("Key") or one.get("TagKey"): one.get("Value") or one.get("TagValue") or "" for one in value or []}


# EC2: parameters that name what is there, and the kind of what is made.

EC2 = {
    "AllocateAddress": ([], "elastic-ip"),
    "AssociateRouteTable": (["RouteTableId", "SubnetId"], None),
    "AttachInternetGateway": (["InternetGatewayId", "VpcId"], None),
    "AuthorizeSecurityGroupEgress": (["GroupId"], "security-group-rule"),
    "AuthorizeSecurityGroupIngress": (["GroupId"], "security-group-rule"),
    "CreateFlowLogs": (["ResourceIds"], "vpc-flow-log"),
    "CreateInternetGateway": ([], "internet-gateway"),
    "CreateLaunchTemplate": ([], "launch-template"),
    "CreateLaunchTemplateVersion": (["LaunchTemplateId"], None),
    "CreateNatGateway": (["AllocationId", "SubnetId"], "natgateway"),
    "CreateRoute": (["RouteTableId"], None),
    "CreateRouteTable": (["VpcId"], "route-table"),
    "CreateSecurityGroup": (["VpcId"], "security-group"),
    "CreateSubnet": (["VpcId"], "subnet"),
    "CreateVpc": ([], "vpc"),
    "CreateVpcEndpoint": (["RouteTableIds", "SecurityGroupIds", "SubnetIds", "VpcId"], "vpc-endpoint"),
    "DeleteFlowLogs": (["FlowLogIds"], None),
    "DeleteInternetGateway": (["InternetGatewayId"], None),
    "DeleteLaunchTemplate": (["LaunchTemplateId"], None),
    "DeleteLaunchTemplateVersions": (["LaunchTemplateId"], None),
    "DeleteRouteTable": (["RouteTableId"], None),
    "DeleteSecurityGroup": (["GroupId"], None),
    "DeleteSubnet": (["SubnetId"], None),
    "DeleteVpc": (["VpcId"], None),
    "DeleteVpcEndpoints": (["VpcEndpointIds"], None),
    "DetachInternetGateway": (["InternetGatewayId", "VpcId"], None),
    "ModifyLaunchTemplate": (["LaunchTemplateId"], None),
    "ModifySubnetAttribute": (["SubnetId"], None),
    "ModifyVpcAttribute": (["VpcId"], None),
    "ReplaceRoute": (["RouteTableId"], None),
    "RevokeSecurityGroupEgress": (["GroupId"], None),
    "RevokeSecurityGroupIngress": (["GroupId"], None),
}

KINDS = {
    "eipalloc": "elastic-ip",
    "fl": "vpc-flow-log",
    "igw": "internet-gateway",
    "lt": "launch-template",
    "nat": "natgateway",
    "rtb": "route-table",
    "sg": "security-group",
    "sgr": "security-group-rule",
    "subnet": "subnet",
    "vpc": "vpc",
    "vpce": "vpc-endpoint",
}


def ask_ec2(asked):
    existing, kind = EC2[asked.call.operation]
    for id in [id for name in existing for id in asked.named(name)]:
        on_existing(asked, asked.call.operation, id)
    if kind:
        making(asked, asked.call.operation, kind, asked.named("TagSpecifications"))
    if asked.call.operation == "CreateFlowLogs":
        asked.pass_role(asked.parameters["DeliverLogsPermissionArn"], "vpc-flow-logs.amazonaws.com")
    if asked.call.operation == "CreateVpcEndpoint" and asked.parameters.get("PrivateDnsEnabled"):
        # In a zone of AWS's account.
        asked.ask(
            "route53:AssociateVPCWithHostedZone",
            "arn:aws:route53:::hostedzone/Z0AWS",
            keys={"aws:ResourceAccount": "000000000000"},
        )


def on_existing(asked, operation, id):
    kind = KINDS[id.split("-")[0]]
    asked.ask(f"ec2:{operation}", asked.arn("ec2", f"{kind}/{id}"), has=asked.world.tags("ec2", id, asked.call.region))


def making(asked, operation, kind, specifications):
    """What is made, which has no id yet, and its tags."""
    given = next((tags(one["Tags"]) for one in specifications if one["ResourceType"] == kind), None)
    asked.ask(f"ec2:{operation}", asked.arn("ec2", f"{kind}/*"), gives=given)
    if given:
        asked.ask("ec2:CreateTags", asked.arn("ec2", f"{kind}/*"), gives=given, keys={"ec2:CreateAction": operation})


def ask_create_tags(asked):
    for id in asked.named("Resources"):
        resource = asked.arn("ec2", f"{KINDS[id.split('-')[0]]}/{id}")
        asked.ask(
            "ec2:CreateTags",
            resource,
            gives=tags(asked.named("Tags")),
            has=asked.world.tags("ec2", id, asked.call.region),
        )


# Auto Scaling, which tries the launch template in the name of the caller.


def ask_group(asked):
    operation = asked.call.operation
    keys = {"autoscaling:TargetGroupARNs": asked.named("TargetGroupARNs")} if asked.named("TargetGroupARNs") else {}
    asked.ask(f"autoscaling:{operation}", group(asked), keys=keys)
    if operation == "CreateAutoScalingGroup":
        asked.ask("autoscaling:CreateOrUpdateTags", group(asked), gives=tags(asked.named("Tags")))
    template = asked.parameters.get("LaunchTemplate") or (asked.parameters.get("DesiredConfiguration") or {}).get(
        "LaunchTemplate"
    )
    if template:
        subnets = asked.parameters.get("VPCZoneIdentifier")
        run_instances(asked, template, subnets.split(",") if subnets else [])


def run_instances(asked, template, subnets):
    data = asked.world.launch_template(template, asked.call.region)
    on_existing(asked, "RunInstances", template["LaunchTemplateId"])
    interfaces = data.get("NetworkInterfaces", [])
    groups = data.get("SecurityGroupIds", []) + [id for one in interfaces for id in one.get("Groups", [])]
    for id in subnets + groups:
        on_existing(asked, "RunInstances", id)
    asked.ask(
        "ec2:RunInstances",
        f"arn:aws:ec2:{asked.call.region}::image/{data['ImageId']}",
        has=asked.world.tags("ec2", data["ImageId"], asked.call.region),
    )
    for kind in ("instance", "network-interface", "volume"):
        making(asked, "RunInstances", kind, data.get("TagSpecifications", []))
    asked.pass_role(asked.world.role_of_profile(data["IamInstanceProfile"]["Arn"]), "ec2.amazonaws.com")


def group(asked):
    return asked.arn(
        "autoscaling", f"autoScalingGroup:*:autoScalingGroupName/{asked.parameters['AutoScalingGroupName']}"
    )


def ask_tags_of_group(asked):
    for tag in asked.named("Tags"):
        name = tag["ResourceId"]
        asked.ask(
            f"autoscaling:{asked.call.operation}",
            asked.arn("autoscaling", f"autoScalingGroup:*:autoScalingGroupName/{name}"),
            gives=tags([tag]),
        )


# Services whose operations name what they are about by one parameter: the rest of its ARN,
# and how an operation that makes it calls its tags.

BY_ARN = {
    "cloudwatch": {
        "DeleteAlarms": ("AlarmNames", "alarm:{}", None),
        "PutCompositeAlarm": ("AlarmName", "alarm:{}", "Tags"),
        "PutMetricAlarm": ("AlarmName", "alarm:{}", "Tags"),
        "TagResource": ("ResourceARN", "{}", None),
        "UntagResource": ("ResourceARN", "{}", None),
    },
    "elasticloadbalancing": {
        "AddTags": ("ResourceArns", "{}", None),
        "CreateListener": ("LoadBalancerArn", "{}", None),
        "CreateLoadBalancer": ("Name", "loadbalancer/app/{}/new", "Tags"),
        "CreateTargetGroup": ("Name", "targetgroup/{}/new", "Tags"),
        "DeleteListener": ("ListenerArn", "{}", None),
        "DeleteLoadBalancer": ("LoadBalancerArn", "{}", None),
        "DeleteTargetGroup": ("TargetGroupArn", "{}", None),
        "ModifyListener": ("ListenerArn", "{}", None),
        "ModifyListenerAttributes": ("ListenerArn", "{}", None),
        "ModifyLoadBalancerAttributes": ("LoadBalancerArn", "{}", None),
        "ModifyTargetGroup": ("TargetGroupArn", "{}", None),
        "ModifyTargetGroupAttributes": ("TargetGroupArn", "{}", None),
        "SetSecurityGroups": ("LoadBalancerArn", "{}", None),
        "SetSubnets": ("LoadBalancerArn", "{}", None),
    },
    "events": {
        "DeleteRule": ("Name", "rule/{}", None),
        "PutRule": ("Name", "rule/{}", "Tags"),
        "PutTargets": ("Rule", "rule/{}", None),
        "RemoveTargets": ("Rule", "rule/{}", None),
    },
    "logs": {
        "AssociateKmsKey": ("logGroupName", "log-group:{}", None),
        "CreateLogGroup": ("logGroupName", "log-group:{}", "tags"),
        "DeleteLogGroup": ("logGroupName", "log-group:{}", None),
        "DeleteMetricFilter": ("logGroupName", "log-group:{}", None),
        "PutMetricFilter": ("logGroupName", "log-group:{}", None),
        "PutRetentionPolicy": ("logGroupName", "log-group:{}", None),
    },
    "sns": {
        "CreateTopic": ("Name", "{}", "Tags"),
        "DeleteTopic": ("TopicArn", "{}", None),
        "SetTopicAttributes": ("TopicArn", "{}", None),
        "Subscribe": ("TopicArn", "{}", None),
    },
    "ssm": {
        "AddTagsToResource": ("ResourceId", "parameter{}", "Tags"),
        "DeleteParameter": ("Name", "parameter{}", None),
        "GetParameter": ("Name", "parameter{}", None),
        "GetParameterHistory": ("Name", "parameter{}", None),
        "ListTagsForResource": ("ResourceId", "parameter{}", None),
        "PutParameter": ("Name", "parameter{}", "Tags"),
    },
}

# The action that tags in the same request.
TAGGING = {
    "cloudwatch": "cloudwatch:TagResource",
    "elasticloadbalancing": "elasticloadbalancing:AddTags",
    "events": "events:TagResource",
    "logs": "logs:TagResource",
    "sns": "sns:TagResource",
    "ssm": "ssm:AddTagsToResource",
}


def ask_by_arn(asked, prefix):
    operation = asked.call.operation
    parameter, rest, tagged_by = BY_ARN[prefix][operation]
    for value in asked.named(parameter):
        resource = value if value.startswith("arn:") else asked.arn(prefix, rest.format(value))
        given = tags(asked.parameters[tagged_by]) if tagged_by and asked.parameters.get(tagged_by) else None
        asked.ask(f"{prefix}:{operation}", resource, gives=given)
        if given and operation != TAGGING[prefix]:
            asked.ask(TAGGING[prefix], resource, gives=given)


def ask_dashboard(asked):
    for name in asked.named("DashboardName") + asked.named("DashboardNames"):
        asked.ask(f"cloudwatch:{asked.call.operation}", asked.arn("cloudwatch", f"dashboard/{name}", ""))


def ask_web_acl(asked):
    resource = asked.parameters.get("ARN") or asked.arn("wafv2", f"regional/webacl/{asked.parameters['Name']}/new")
    given = tags(asked.named("Tags")) or None
    asked.ask(f"wafv2:{asked.call.operation}", resource, gives=given)
    if given:
        asked.ask("wafv2:TagResource", resource, gives=given)


def ask_association_of_web_acl(asked):
    # "Permissions for AssociateWebACL" in the AWS WAF Developer Guide.
    balancer = asked.parameters["ResourceArn"]
    asked.ask(f"wafv2:{asked.call.operation}", *asked.named("WebACLArn"), balancer)
    asked.ask("elasticloadbalancing:SetWebACL", balancer)


# Databases


def ask_rds(kind, parameter, *others):
    """An operation on what `parameter` names, which also names `others`."""

    def ask(asked):
        operation, parameters = asked.call.operation, asked.parameters
        given = tags(asked.named("Tags")) or None
        resource = asked.arn("rds", f"{kind}:{parameters[parameter]}")
        asked.ask(f"rds:{operation}", resource, gives=given)
        if given:
            asked.ask("rds:AddTagsToResource", resource, gives=given)
        for name, other in others:
            asked.ask(f"rds:{operation}", *[asked.arn("rds", f"{other}:{value}") for value in asked.named(name)])
        if operation == "CreateDBCluster":
            asked.ask("rds:CreateDBCluster", asked.arn("rds", "og:default:aurora-postgresql-15"))
        if parameters.get("ManageMasterUserPassword") and operation.startswith("Create"):
            secret = asked.arn("secretsmanager", "secret:rds!cluster-new-AbCdEf")
            asked.ask("secretsmanager:CreateSecret", secret)
            asked.ask("secretsmanager:TagResource", secret)
        asked.use_key("KmsKeyId", "MasterUserSecretKmsKeyId", "PerformanceInsightsKMSKeyId")
        for role in asked.named("MonitoringRoleArn"):
            asked.pass_role(role, "monitoring.rds.amazonaws.com")

    return ask


def ask_tags_of_database(asked):
    asked.ask(f"rds:{asked.call.operation}", asked.parameters["ResourceName"], gives=tags(asked.named("Tags")))


def ask_data_api(asked):
    asked.ask("rds-data:ExecuteStatement", asked.parameters["resourceArn"])
    secret = asked.parameters["secretArn"]
    asked.ask(
        "secretsmanager:GetSecretValue", secret, has=asked.world.tags("secretsmanager", secret, asked.call.region)
    )


# File systems, backups and keys


def ask_new_file_system(asked):
    given = tags(asked.named("Tags"))
    asked.ask("elasticfilesystem:CreateFileSystem", "*", gives=given)
    asked.ask(
        "elasticfilesystem:TagResource",
        asked.arn("elasticfilesystem", "file-system/new"),
        gives=given,
        keys={"elasticfilesystem:CreateAction": "CreateFileSystem"},
    )
    asked.use_key("KmsKeyId")


def ask_file_system(asked):
    id = asked.parameters["FileSystemId"]
    resource = asked.arn("elasticfilesystem", f"file-system/{id}")
    given = tags(asked.named("Tags")) or None
    asked.ask(
        f"elasticfilesystem:{asked.call.operation}",
        resource,
        gives=given,
        has=asked.world.tags("efs", id, asked.call.region),
    )
    if given:
        asked.ask(
            "elasticfilesystem:TagResource",
            asked.arn("elasticfilesystem", "access-point/new"),
            gives=given,
            keys={"elasticfilesystem:CreateAction": "CreateAccessPoint"},
        )
    if asked.call.operation == "CreateMountTarget":
        for id in asked.named("SubnetId") + asked.named("SecurityGroups"):
            on_existing(asked, "CreateNetworkInterface", id)
        asked.ask(
            "ec2:CreateNetworkInterface", asked.arn("ec2", "network-interface/*"), keys={"aws:ViaAWSService": "true"}
        )


def ask_vault(asked):
    resource = asked.arn("backup", f"backup-vault:{asked.parameters['BackupVaultName']}")
    given = tags(asked.parameters.get("BackupVaultTags")) or None
    asked.ask(f"backup:{asked.call.operation}", resource, gives=given)
    if given:
        asked.ask("backup:TagResource", resource, gives=given)
    if asked.call.operation == "CreateBackupVault":
        asked.ask("backup-storage:MountCapsule", "*")
        asked.use_key("EncryptionKeyArn")
    for role in asked.named("IamRoleArn"):
        asked.pass_role(role, "backup.amazonaws.com")


def ask_new_plan(asked):
    given = tags(asked.parameters["BackupPlanTags"])
    for action in ("backup:CreateBackupPlan", "backup:TagResource"):
        asked.ask(action, asked.arn("backup", "backup-plan:new"), gives=given)


def ask_plan(asked):
    id = asked.parameters["BackupPlanId"]
    resource = asked.arn("backup", f"backup-plan:{id}")
    asked.ask(f"backup:{asked.call.operation}", resource, has=asked.world.tags("backup", resource, asked.call.region))
    selection = asked.parameters.get("BackupSelection")
    if selection:
        asked.pass_role(selection["IamRoleArn"], "backup.amazonaws.com")


def ask_new_key(asked):
    given = tags(asked.named("Tags"))
    asked.ask("kms:CreateKey", "*", gives=given)
    asked.ask("kms:TagResource", asked.arn("kms", "key/new"), gives=given)


def ask_key(asked):
    resource = asked.key(asked.parameters.get("TargetKeyId") or asked.parameters["KeyId"])
    given = tags(asked.named("Tags")) or None
    asked.ask(
        f"kms:{asked.call.operation}", resource, gives=given, has=asked.world.tags("kms", resource, asked.call.region)
    )
    for name in asked.named("AliasName"):
        asked.ask(f"kms:{asked.call.operation}", asked.arn("kms", name))


# Roles


def ask_role(asked):
    parameters = asked.parameters
    resource = f"arn:aws:iam::{ACCOUNT}:role{parameters.get('Path', '/')}{parameters['RoleName']}"
    creates = asked.call.operation in ("CreateRole", "PutRolePermissionsBoundary")
    boundary = parameters.get("PermissionsBoundary") if creates else asked.world.boundary(parameters["RoleName"])
    given = tags(asked.named("Tags")) or None
    asked.ask(
        f"iam:{asked.call.operation}",
        resource,
        gives=given,
        keys={"iam:PermissionsBoundary": boundary} if boundary else {},
    )
    if given and asked.call.operation == "CreateRole":
        asked.ask("iam:TagRole", resource, gives=given)


def ask_profile(asked):
    parameters = asked.parameters
    resource = (
        f"arn:aws:iam::{ACCOUNT}:instance-profile{parameters.get('Path', '/')}{parameters['InstanceProfileName']}"
    )
    given = tags(asked.named("Tags")) or None
    asked.ask(f"iam:{asked.call.operation}", resource, gives=given)
    if given:
        asked.ask("iam:TagInstanceProfile", resource, gives=given)
    if asked.call.operation == "AddRoleToInstanceProfile":
        asked.pass_role(f"arn:aws:iam::{ACCOUNT}:role/{parameters['RoleName']}", "ec2.amazonaws.com")


# Certificates, DNS, user pools, buckets


def ask_certificate(asked):
    if asked.call.operation == "RequestCertificate":
        given = tags(asked.named("Tags"))
        asked.ask("acm:RequestCertificate", "*", gives=given)
        asked.ask("acm:AddTagsToCertificate", asked.arn("acm", "certificate/new"), gives=given)
    else:
        arn = asked.parameters["CertificateArn"]
        asked.ask(f"acm:{asked.call.operation}", arn, has=asked.world.tags("acm", arn, asked.call.region))


def ask_records(asked):
    id = asked.parameters["HostedZoneId"].rpartition("/")[2]
    asked.ask("route53:ChangeResourceRecordSets", f"arn:aws:route53:::hostedzone/{id}")


def ask_new_user_pool(asked):
    given = tags(asked.parameters["UserPoolTags"])
    asked.ask("cognito-idp:CreateUserPool", "*", gives=given)
    asked.ask("cognito-idp:TagResource", asked.arn("cognito-idp", "userpool/new"), gives=given)


def ask_user_pool(asked):
    resource = asked.arn("cognito-idp", f"userpool/{asked.parameters['UserPoolId']}")
    asked.ask(
        f"cognito-idp:{asked.call.operation}",
        resource,
        has=asked.world.tags("cognito-idp", resource, asked.call.region),
    )


# Where S3's actions are not called as its operations.
S3 = {
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketAccelerateConfiguration": "GetAccelerateConfiguration",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketReplication": "GetReplicationConfiguration",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "HeadBucket": "ListBucket",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
}


def ask_s3(asked):
    action = S3.get(asked.call.operation, asked.call.operation)
    key = asked.parameters.get("Key")
    asked.ask(f"s3:{action}", f"arn:aws:s3:::{asked.parameters['Bucket']}" + (f"/{key}" if key else ""))


RULES = {
    "acm:DeleteCertificate": ask_certificate,
    "acm:RequestCertificate": ask_certificate,
    "autoscaling:CreateOrUpdateTags": ask_tags_of_group,
    "autoscaling:DeleteTags": ask_tags_of_group,
    **{
        f"autoscaling:{operation}": ask_group
        for operation in [
            "CancelInstanceRefresh",
            "CreateAutoScalingGroup",
            "DeleteAutoScalingGroup",
            "DeletePolicy",
            "DisableMetricsCollection",
            "EnableMetricsCollection",
            "PutScalingPolicy",
            "RollbackInstanceRefresh",
            "StartInstanceRefresh",
            "UpdateAutoScalingGroup",
        ]
    },
    "backup:CreateBackupPlan": ask_new_plan,
    **{
        f"backup:{operation}": ask_plan
        for operation in ["CreateBackupSelection", "DeleteBackupPlan", "DeleteBackupSelection", "UpdateBackupPlan"]
    },
    **{
        f"backup:{operation}": ask_vault
        for operation in ["CreateBackupVault", "DeleteBackupVault", "PutBackupVaultLockConfiguration", "StartBackupJob"]
    },
    "cloudwatch:DeleteDashboards": ask_dashboard,
    "cloudwatch:PutDashboard": ask_dashboard,
    "cognito-idp:CreateUserPool": ask_new_user_pool,
    **{
        f"cognito-idp:{operation}": ask_user_pool
        for operation in [
            "CreateUserPoolClient",
            "CreateUserPoolDomain",
            "DeleteUserPool",
            "DeleteUserPoolClient",
            "DeleteUserPoolDomain",
            "SetUserPoolMfaConfig",
            "UpdateUserPool",
            "UpdateUserPoolClient",
        ]
    },
    "ec2:CreateTags": ask_create_tags,
    "elasticfilesystem:CreateFileSystem": ask_new_file_system,
    **{
        f"elasticfilesystem:{operation}": ask_file_system
        for operation in [
            "CreateAccessPoint",
            "CreateMountTarget",
            "DeleteFileSystem",
            "DeleteFileSystemPolicy",
            "PutFileSystemPolicy",
            "PutLifecycleConfiguration",
            "UpdateFileSystem",
        ]
    },
    **{
        f"iam:{operation}": ask_role
        for operation in [
            "AttachRolePolicy",
            "CreateRole",
            "DeleteRole",
            "DeleteRolePermissionsBoundary",
            "DeleteRolePolicy",
            "DetachRolePolicy",
            "PutRolePermissionsBoundary",
            "PutRolePolicy",
            "TagRole",
            "UpdateAssumeRolePolicy",
            "UpdateRole",
            "UpdateRoleDescription",
        ]
    },
    **{
        f"iam:{operation}": ask_profile
        for operation in [
            "AddRoleToInstanceProfile",
            "CreateInstanceProfile",
            "DeleteInstanceProfile",
            "RemoveRoleFromInstanceProfile",
        ]
    },
    "kms:CreateKey": ask_new_key,
    **{
        f"kms:{operation}": ask_key
        for operation in [
            "CreateAlias",
            "DeleteAlias",
            "EnableKeyRotation",
            "PutKeyPolicy",
            "ScheduleKeyDeletion",
            "TagResource",
            "UpdateAlias",
            "UpdateKeyDescription",
        ]
    },
    "rds:AddTagsToResource": ask_tags_of_database,
    "rds:CreateDBCluster": ask_rds(
        "cluster", "DBClusterIdentifier", ("DBSubnetGroupName", "subgrp"), ("DBClusterParameterGroupName", "cluster-pg")
    ),
    "rds:CreateDBClusterParameterGroup": ask_rds("cluster-pg", "DBClusterParameterGroupName"),
    "rds:CreateDBInstance": ask_rds(
        "db", "DBInstanceIdentifier", ("DBClusterIdentifier", "cluster"), ("DBSubnetGroupName", "subgrp")
    ),
    "rds:CreateDBSubnetGroup": ask_rds("subgrp", "DBSubnetGroupName"),
    "rds:DeleteDBCluster": ask_rds("cluster", "DBClusterIdentifier", ("FinalDBSnapshotIdentifier", "cluster-snapshot")),
    "rds:DeleteDBClusterParameterGroup": ask_rds("cluster-pg", "DBClusterParameterGroupName"),
    "rds:DeleteDBInstance": ask_rds("db", "DBInstanceIdentifier"),
    "rds:DeleteDBSubnetGroup": ask_rds("subgrp", "DBSubnetGroupName"),
    "rds:EnableHttpEndpoint": lambda asked: asked.ask("rds:EnableHttpEndpoint", asked.parameters["ResourceArn"]),
    "rds:ModifyDBCluster": ask_rds("cluster", "DBClusterIdentifier", ("DBClusterParameterGroupName", "cluster-pg")),
    "rds:ModifyDBClusterParameterGroup": ask_rds("cluster-pg", "DBClusterParameterGroupName"),
    "rds:ModifyDBInstance": ask_rds("db", "DBInstanceIdentifier"),
    "rds:ModifyDBSubnetGroup": ask_rds("subgrp", "DBSubnetGroupName"),
    "rds-data:ExecuteStatement": ask_data_api,
    "route53:ChangeResourceRecordSets": ask_records,
    "wafv2:AssociateWebACL": ask_association_of_web_acl,
    "wafv2:CreateWebACL": ask_web_acl,
    "wafv2:DisassociateWebACL": ask_association_of_web_acl,
    "wafv2:UpdateWebACL": ask_web_acl,
}
