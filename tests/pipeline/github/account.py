"""The AWS account of the jobs: which role trusts which job, as its trust policy says."""

import fnmatch
import json
import urllib.request
from typing import Any

ISSUER = "token.actions.githubusercontent.com"


class Account:
    """An emulated AWS at `url`, or none, in which no role exists."""

    def __init__(self, url: str | None):
        self.url = url
        self.sessions: list[dict[str, Any]] = []

    def assume(self, arn: str, subject: str, seconds: int) -> dict[str, str]:
        """Credentials of a role for a job, of which GitHub's token says `subject`."""
        if not self.url:
            raise PermissionError(f"{arn} does not exist")
        role = self.ask("iam.get_role", {"RoleName": arn.rsplit("/", 1)[-1]})["Role"]
        if role["Arn"] != arn:
            raise PermissionError(f"{arn} does not exist")
        if seconds > role["MaxSessionDuration"]:
            raise PermissionError(f"{arn} gives sessions of {role['MaxSessionDuration']} s at most")
        trust = role["AssumeRolePolicyDocument"]
        trust = json.loads(trust) if isinstance(trust, str) else trust
        if not any(trusts(statement, subject) for statement in listed(trust["Statement"])):
            raise PermissionError(f"{arn} does not trust {subject}")
        self.sessions.append({"role": arn, "subject": subject, "seconds": seconds})
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_S3_USE_PATH_STYLE": "true",
        }

    def ask(self, action: str, parameters: dict[str, Any], region: str = "eu-central-1") -> Any:
        call = json.dumps({"region": region, "action": action, "parameters": parameters}).encode()
        with urllib.request.urlopen(f"{self.url}/emulator/aws", data=call) as answer:
            return json.load(answer)


def trusts(statement: dict[str, Any], subject: str) -> bool:
    """Whether a statement lets a job in, of the two conditions that GitHub's tokens need."""
    conditions = statement["Condition"]
    audiences = listed(conditions["StringEquals"][f"{ISSUER}:aud"])
    subjects = listed(conditions["StringLike"][f"{ISSUER}:sub"])
    return (
        statement["Effect"] == "Allow"
        and statement["Action"] == "sts:AssumeRoleWithWebIdentity"
        and "sts.amazonaws.com" in audiences
        and any(fnmatch.fnmatchcase(subject, pattern) for pattern in subjects)
    )


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
