"""What still needs an image: releases, launch templates, instances, other accounts."""

from __future__ import annotations

import re
from typing import Iterator

from releases import aws, images, record

PARAMETER = re.compile(f"/{images.SERVICE}/([^/]+)/image")


def environments(region: str) -> list[str]:
    """Those that have recorded a release."""
    filters = f"Key=Name,Option=BeginsWith,Values=/{images.SERVICE}/"
    described = aws.call(region, "ssm", "describe-parameters", "--parameter-filters", filters)
    found = (PARAMETER.fullmatch(one["Name"]) for one in described["Parameters"])
    return [one[1] for one in found if one]


def by_releases(history: list[record.Release], keep: int) -> set[str]:
    """The images of the last releases, and those that rollbacks go to one after the other."""
    distinct = dict.fromkeys(release.image for release in reversed(history))
    return {*list(distinct)[:keep], *record.way_back(history)[-keep:]}


def by_launch_templates(region: str) -> Iterator[tuple[str, str]]:
    """Images, and who names them: in any version of any template."""
    for template in aws.call(region, "ec2", "describe-launch-templates")["LaunchTemplates"]:
        id, name = template["LaunchTemplateId"], template["LaunchTemplateName"]
        described = aws.call(region, "ec2", "describe-launch-template-versions", "--launch-template-id", id)
        for version in described["LaunchTemplateVersions"]:
            image = version["LaunchTemplateData"].get("ImageId")
            if image:
                yield image, f"version {version['VersionNumber']} of the launch template {name}"


def by_instances(region: str) -> Iterator[tuple[str, str]]:
    """A stopped instance too may be looked at by its image."""
    for reservation in aws.call(region, "ec2", "describe-instances")["Reservations"]:
        for instance in reservation["Instances"]:
            if instance["State"]["Name"] != "terminated":
                yield instance["ImageId"], f"the instance {instance['InstanceId']}"


def is_shared(region: str, image: str) -> bool:
    """Whether other accounts may launch it, whose instances and templates nobody sees here."""
    arguments = ("--image-id", image, "--attribute", "launchPermission")
    return bool(aws.call(region, "ec2", "describe-image-attribute", *arguments).get("LaunchPermissions"))
