"""GitHub's API as far as it is played: what a token needs for which request."""

import re
from typing import Any

Answer = tuple[int, Any]
ENVIRONMENTS = re.compile(r"/repos/[^/]+/[^/]+/environments/([^/]+)(/deployment-branch-policies)?")
COMMENTS = re.compile(r"/repos/[^/]+/[^/]+/issues/(\d+/comments|comments/\d+)")


def right_for(method: str, path: str) -> tuple[str, str]:
    """The permission that GitHub asks of a job's token, and whether to read or to write."""
    if ENVIRONMENTS.fullmatch(path):
        return "actions", "read"
    if COMMENTS.fullmatch(path):
        return "pull-requests", "read" if method == "GET" else "write"
    return "administration", "write"
