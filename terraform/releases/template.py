"""The versions of a stack's launch template, of which every release makes one.

Terraform and AWS delete none. Each names an image, which is therefore kept.
"""

from __future__ import annotations

from releases import aws, images

# Besides the versions in use; nothing starts from them, but they show what ran.
OLD_VERSIONS_KEPT = 5

# AWS's limit on one call
# (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteLaunchTemplateVersions.html).
CALL_VERSIONS_MAX = 200


def delete_old_versions(region: str, environment: str) -> int:
    """Deletes all but the newest versions, the default one and those of the group and its
    instances; gives their number."""
    name = f"{images.SERVICE}-{environment}"
    described = aws.call(region, "ec2", "describe-launch-template-versions", "--launch-template-name", name)
    versions = sorted(described["LaunchTemplateVersions"], key=lambda version: -version["VersionNumber"])
    used = versions_in_use(region, name)
    old = [
        str(version["VersionNumber"])
        for version in versions[OLD_VERSIONS_KEPT:]
        if not version["DefaultVersion"] and str(version["VersionNumber"]) not in used
    ]
    deleted = 0
    for start in range(0, len(old), CALL_VERSIONS_MAX):
        id, some = versions[0]["LaunchTemplateId"], old[start : start + CALL_VERSIONS_MAX]
        answer = aws.call(
            region, "ec2", "delete-launch-template-versions", "--launch-template-id", id, "--versions", *some
        )
        deleted += len(answer["SuccessfullyDeletedLaunchTemplateVersions"])
    return deleted


def versions_in_use(region: str, group: str) -> set[str]:
    described = aws.call(
        region, "autoscaling", "describe-auto-scaling-groups", "--auto-scaling-group-names", group
    )["AutoScalingGroups"]
    users = [user for one in described for user in (one, *one["Instances"])]
    return {user["LaunchTemplate"]["Version"] for user in users if "LaunchTemplate" in user}
