"""Images as packer/ registers them, and which of two is the older one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Iterable

from releases import aws

SERVICE = "hello-birthday"


@dataclass(frozen=True)
class Image:
    id: str
    name: str
    state: str
    made: datetime
    tags: dict[str, str]
    snapshots: tuple[str, ...]

    @property
    def version(self) -> str:
        return self.tags.get("Version", "-")

    @property
    def commit(self) -> str:
        return self.tags.get("Commit", "-")

    @property
    def is_ours(self) -> bool:
        """Tags are not shared with other accounts, names are; Terraform knows the owner."""
        if not self.tags:
            return self.name.startswith(f"{SERVICE}-")
        return self.tags.get("Service") == SERVICE

    def is_older_than(self, other: Image) -> bool:
        """By the time of the commits, since bakes of two commits may end in any order; of
        one commit by the time of the bakes."""
        committed, others = self.tags.get("Committed"), other.tags.get("Committed")
        if committed and others and committed != others:
            return time(committed) < time(others)
        return self.made < other.made

    def __str__(self) -> str:
        when = self.tags.get("Committed") or f"{self.made:%Y-%m-%dT%H:%M:%SZ}"
        return f"{self.id} (version {self.version}, commit {self.commit[:12]}, {when})"


def time(text: str) -> datetime:
    """AWS's and Git's times. Before Python 3.11 a Z was no time zone."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def find(region: str, *arguments: str) -> dict[str, Image]:
    """Images by id. What does not exist is left out."""
    described = aws.call(region, "ec2", "describe-images", *arguments)["Images"]
    return {one["ImageId"]: of(one) for one in described}


def find_by_id(region: str, ids: Iterable[str]) -> dict[str, Image]:
    wanted = sorted(set(ids))
    return find(region, "--filters", f"Name=image-id,Values={','.join(wanted)}") if wanted else {}


def of(described: dict[str, Any]) -> Image:
    mappings = described.get("BlockDeviceMappings", [])
    snapshots = (mapping.get("Ebs", {}).get("SnapshotId") for mapping in mappings)
    return Image(
        id=described["ImageId"],
        name=described.get("Name", ""),
        state=described["State"],
        made=time(described["CreationDate"]),
        tags={tag["Key"]: tag["Value"] for tag in described.get("Tags", [])},
        snapshots=tuple(snapshot for snapshot in snapshots if snapshot),
    )
