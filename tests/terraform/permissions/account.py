"""The roles of an emulated account, and what IAM says of requests that they make."""

from policies import judge


class Role:
    def __init__(self, policies, boundary, session):
        self.policies, self.boundary, self.session = policies, boundary, session

    def judge(self, request):
        context = {**self.session, **request.context()}
        return judge(request.action, request.resource, context, self.policies, self.boundary)


def read_role(iam, name):
    """A role as AWS has it: its policies, attached and its own, and its boundary."""
    role = iam.get_role(RoleName=name)["Role"]
    names = iam.list_role_policies(RoleName=name)["PolicyNames"]
    policies = [iam.get_role_policy(RoleName=name, PolicyName=one)["PolicyDocument"] for one in names]
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    policies += [read_policy(iam, one["PolicyArn"]) for one in attached]
    boundary = role.get("PermissionsBoundary")
    boundary = boundary and read_policy(iam, boundary["PermissionsBoundaryArn"])
    session = {"aws:userid": f"{role['RoleId']}:GitHubActions", "aws:PrincipalArn": role["Arn"], "aws:PrincipalAccount": role["Arn"].split(":")[4]}
    return Role(policies, boundary, session)


def read_policy(iam, arn):
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    return iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
