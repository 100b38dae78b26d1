"""GitHub's API, as a job may use it: GITHUB_API_URL, GITHUB_REPOSITORY and GITHUB_TOKEN."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any

SECONDS_MAX = 30


class Failed(Exception):
    """A request failed. `status` is 0 if GitHub did not answer."""

    def __init__(self, what: str, status: int = 0) -> None:
        super().__init__(what)
        self.status = status


def call(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Requests a path below the repository, as in /environments/staging."""
    try:
        url = f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}{path}"
        token = os.environ["GITHUB_TOKEN"]
    except KeyError as error:
        raise Failed(f"{error.args[0]} is not set") from error
    request = urllib.request.Request(url, method=method, data=json.dumps(body).encode() if body else None)
    request.add_header("Accept", "application/vnd.github+json")
    request.add_header("X-GitHub-Api-Version", "2022-11-28")
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=SECONDS_MAX) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Failed(f"GitHub answers {error.code} to {method} {path}", error.code) from error
    except (OSError, ValueError) as error:
        raise Failed(f"no answer from GitHub to {method} {path}: {error}") from error
