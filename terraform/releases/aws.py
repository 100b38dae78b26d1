"""Calls of AWS by its command line, which brings credentials and retries."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

# How the AWS CLI, version 1 or 2, reports what AWS refuses.
REFUSAL = re.compile(r"An error occurred \(([A-Za-z0-9.]+)\) when calling")


class Failed(Exception):
    """A call that AWS did not do. `code` is AWS's, or empty where it did not answer."""

    def __init__(self, call: str, code: str, said: str) -> None:
        super().__init__(f"aws {call}: {said.strip() or 'it said nothing'}")
        self.code = code


def call(region: str, service: str, action: str, *arguments: str) -> Any:
    """What AWS answers, in all its pages."""
    environment = {"AWS_RETRY_MODE": "standard", "AWS_MAX_ATTEMPTS": "10", **os.environ, "AWS_PAGER": ""}
    command = ["aws", service, action, "--region", region, "--output", "json", *arguments]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Failed(f"{service} {action}", "", "there is no AWS CLI (aws): install it") from None
    if done.returncode != 0:
        found = REFUSAL.search(done.stderr)
        raise Failed(f"{service} {action}", found[1] if found else "", done.stderr)
    return json.loads(done.stdout or "null")
