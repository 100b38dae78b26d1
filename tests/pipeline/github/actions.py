"""What stands for the actions of the marketplace: for each, what this project relies on."""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from errors import WorkflowError

PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
# GitHub's role sessions last an hour unless a job says otherwise.
SESSION_SECONDS = 3600


class Failure(Exception):
    """The action fails, and with it the step."""


def find(uses: str) -> Callable:
    """The stand-in of an action."""
    if not PINNED.fullmatch(uses):
        raise WorkflowError(f"{uses} is not pinned by its full hash")
    name = uses.split("@")[0]
    if name not in STAND_INS:
        raise WorkflowError(f"nothing stands for the action {name}")
    return STAND_INS[name]


def checkout(runner, given: dict[str, str]) -> None:
    """A clean clone of the commit of the run."""
    want(given, "persist-credentials", "false")
    want_right(runner, "contents", "read")
    commit = given.get("ref") or runner.job.run.github["sha"]
    shutil.rmtree(runner.workspace)
    git("clone", "--quiet", "--no-local", str(runner.world.repository), str(runner.workspace))
    git("-C", str(runner.workspace), "-c", "advice.detachedHead=false", "checkout", "--quiet", commit)


def configure_aws_credentials(runner, given: dict[str, str]) -> None:
    """Credentials of a role, if it trusts the job."""
    want_right(runner, "id-token", "write")
    seconds = int(given.get("role-duration-seconds", SESSION_SECONDS))
    try:
        credentials = runner.world.account.assume(given["role-to-assume"], subject(runner.job), seconds)
    except PermissionError as refusal:
        raise Failure(f"Could not assume role with OIDC: {refusal}") from refusal
    region = given["aws-region"]
    runner.env |= {**credentials, "AWS_REGION": region, "AWS_DEFAULT_REGION": region}


def subject(job) -> str:
    """What GitHub's token says of a job."""
    github = job.run.github
    if job.environment:
        kind = f"environment:{job.environment}"
    elif github["event_name"] == "pull_request":
        kind = "pull_request"
    else:
        kind = f"ref:{github['ref']}"
    return f"repo:{github['repository']}:{kind}"


def upload_artifact(runner, given: dict[str, str]) -> None:
    kept = runner.job.run.artifacts
    if given["name"] in kept:
        raise Failure(f"there is an artifact {given['name']} already")
    files = [file for line in given["path"].split() for file in sorted(runner.workspace.glob(line)) if file.is_file()]
    if not files and given.get("if-no-files-found") == "error":
        raise Failure(f"no file {given['path']}")
    kept[given["name"]] = {file.name: file.read_bytes() for file in files}


def download_artifact(runner, given: dict[str, str]) -> None:
    kept = runner.job.run.artifacts
    if given["name"] not in kept:
        raise Failure(f"no artifact {given['name']}")
    folder = runner.workspace / given.get("path", ".")
    folder.mkdir(parents=True, exist_ok=True)
    # Modes are lost on the way, as GitHub says.
    for name, content in kept[given["name"]].items():
        Path(folder, name).write_bytes(content)


def attest_build_provenance(runner, given: dict[str, str]) -> None:
    want_right(runner, "id-token", "write")
    want_right(runner, "attestations", "write")
    files = sorted(runner.workspace.glob(given["subject-path"]))
    if not files:
        raise Failure(f"no file {given['subject-path']}")
    for file in files:
        runner.job.run.attested[file.name] = hashlib.sha256(file.read_bytes()).hexdigest()


def setup_terraform(runner, given: dict[str, str]) -> None:
    # The wrapper is in the way of signals and exit codes.
    want(given, "terraform_wrapper", "false")
    want_program("terraform")


def setup_packer(runner, given: dict[str, str]) -> None:
    if not given.get("version"):
        raise Failure("which version?")


def want(given: dict[str, str], name: str, value: str) -> None:
    if given.get(name) != value:
        raise WorkflowError(f"it wants {name}: {value}")


def want_right(runner, name: str, right: str) -> None:
    granted = runner.job.permissions.get(name, "none")
    if granted not in (right, "write"):
        raise Failure(f"the job has no permission {name}: {right}")


def want_program(name: str) -> None:
    if not shutil.which(name):
        raise Failure(f"there is no {name}")


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"git {' '.join(arguments)}: {done.stderr}")
    return done.stdout.strip()


STAND_INS: dict[str, Callable] = {
    "actions/attest-build-provenance": attest_build_provenance,
    "actions/checkout": checkout,
    "actions/download-artifact": download_artifact,
    "actions/upload-artifact": upload_artifact,
    "aws-actions/configure-aws-credentials": configure_aws_credentials,
    "hashicorp/setup-packer": setup_packer,
    "hashicorp/setup-terraform": setup_terraform,
}
