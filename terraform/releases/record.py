"""The releases of an environment, as recorded in the history of one parameter.

Terraform sets the parameter to an image's id once the image runs, so that its versions, of
which AWS keeps 100, are the releases.
https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from releases import aws, images


@dataclass(frozen=True)
class Release:
    image: str
    time: datetime

    @classmethod
    def now(cls, image: str) -> Release:
        return cls(image, datetime.now(timezone.utc))


def parameter(environment: str) -> str:
    return f"/{images.SERVICE}/{environment}/image"


def releases(region: str, environment: str) -> list[Release]:
    """Oldest first; none where nothing was released yet."""
    name = parameter(environment)
    try:
        history = aws.call(region, "ssm", "get-parameter-history", "--name", name)["Parameters"]
    except aws.Failed as failed:
        if failed.code == "ParameterNotFound":
            return []
        raise
    history.sort(key=lambda version: version["Version"])
    found: list[Release] = []
    for version in history:
        # A new description is a version too, but no release.
        if not found or found[-1].image != version["Value"]:
            found.append(Release(version["Value"], moment(version["LastModifiedDate"])))
    return found


def way_back(history: list[Release]) -> list[str]:
    """The image that runs, and before it those that a rollback goes to one by one: a release
    that was rolled back is not among them."""
    way: list[str] = []
    for release in history:
        if release.image in way:
            del way[way.index(release.image) + 1 :]
        else:
            way.append(release.image)
    return way


def moment(value: str | float) -> datetime:
    """Version 1 of the AWS CLI gives seconds where version 2 gives a time, unless it is set."""
    if isinstance(value, str):
        return images.time(value).astimezone(timezone.utc)
    return datetime.fromtimestamp(value, timezone.utc)
