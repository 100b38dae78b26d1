"""A repository at GitHub, with its environments, secrets and runs."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from account import Account
from errors import WorkflowError
from runs import Run, Schedule
from server import Server
from workflow import Workflow

NAME = "example/hello-birthday"


class World:
    """`settings` are: source (the folder of the project), files (by path, instead of its own),
    environments (each with reviewers, branches, vars, secrets), vars, secrets, hooks (secrets
    that are web hooks of this server), path, environment (variables of every step), and aws
    (the URL of an emulated AWS)."""

    def __init__(self, settings: dict[str, Any], folder: Path):
        self.settings, self.folder = settings, folder
        self.repository = folder / "origin"
        self.path = settings["path"]
        self.account = Account(settings.get("aws"))
        self.schedule = Schedule()
        self.server = Server(self)
        self.environment = {
            **settings.get("environment", {}),
            # Only what is not on this machine is asked by way of the server.
            "http_proxy": self.server.url,
            "no_proxy": "127.0.0.1,localhost",
        }
        self.make_repository()

    def make_repository(self) -> None:
        """The project as it is here, committed or not, as the first commit."""
        self.repository.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        if "source" in self.settings:
            self.copy_project(Path(self.settings["source"]))
        self.commit(self.settings.get("files", {}), "First")

    def copy_project(self, source: Path) -> None:
        listed = ["git", "-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0"):
            if name and (source / name).is_file():
                to = self.repository / name
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, to)

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", "-C", str(self.repository), *identity, *arguments], capture_output=True, text=True)
        if done.returncode:
            raise WorkflowError(f"git {arguments[0]}: {done.stderr}")
        return done.stdout.strip()

    def commit(self, files: dict[str, str], message: str) -> str:
        for name, text in files.items():
            file = self.repository / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", f"--message={message}")
        return self.git("rev-parse", "HEAD")

    def start(self, workflow: str, event: str, inputs: dict[str, str] | None = None, fork: bool = False) -> Run:
        """A run of the workflow for the newest commit."""
        flow = Workflow.load(self.repository / ".github/workflows" / workflow)
        if not flow.is_started_by(event, "main"):
            raise WorkflowError(f"{workflow} is not started by {event}")
        number = len(self.schedule.runs) + 1
        run = Run(self, number, flow, self.facts(flow, event, number, fork), self.checked(flow, inputs or {}), fork)
        self.schedule.runs.append(run)
        return run

    def facts(self, flow: Workflow, event: str, number: int, fork: bool) -> dict[str, Any]:
        """The context `github`."""
        ref = "refs/pull/7/merge" if event == "pull_request" else "refs/heads/main"
        head = {"repo": {"full_name": "someone/else" if fork else NAME, "fork": fork}, "ref": "change"}
        payload = {"pull_request": {"number": 7, "head": head}} if event == "pull_request" else {}
        return {
            "event": payload,
            "event_name": event,
            "workflow": flow.name,
            "repository": NAME,
            "repository_owner": NAME.split("/")[0],
            "actor": "ann",
            "triggering_actor": "ann",
            "ref": ref,
            "ref_name": ref.removeprefix("refs/heads/"),
            "sha": self.git("rev-parse", "HEAD"),
            "run_id": str(number),
            "run_number": str(number),
            "run_attempt": "1",
            "server_url": "https://github.example",
            "api_url": f"{self.server.url}/api",
        }

    def checked(self, flow: Workflow, inputs: dict[str, str]) -> dict[str, str]:
        """The inputs of a run by hand, with their defaults."""
        declared = (flow.triggers.get("workflow_dispatch") or {}).get("inputs") or {}
        if unknown := set(inputs) - set(declared):
            raise WorkflowError(f"{flow.file} has no input {', '.join(unknown)}")
        for name, says in declared.items():
            value = inputs.setdefault(name, says.get("default", ""))
            if says.get("required") and not value:
                raise WorkflowError(f"{flow.file} wants the input {name}")
            if says.get("type") == "choice" and value not in says["options"]:
                raise WorkflowError(f"{flow.file}: {name} is one of {says['options']}")
        return inputs

    def environment_settings(self, name: str | None) -> dict[str, Any]:
        return self.settings.get("environments", {}).get(name or "", {})

    def has_reviewers(self, name: str) -> bool:
        return bool(self.environment_settings(name).get("reviewers"))

    def vars_of(self, environment: str | None) -> dict[str, str]:
        return self.settings.get("vars", {}) | self.environment_settings(environment).get("vars", {})

    def secrets_of(self, environment: str | None) -> dict[str, str]:
        hooks = {name: f"{self.server.url}/hook/{hook}" for name, hook in self.settings.get("hooks", {}).items()}
        return hooks | self.settings.get("secrets", {}) | self.environment_settings(environment).get("secrets", {})

    def all_secrets(self) -> set[str]:
        names = [None, *self.settings.get("environments", {})]
        return {secret for name in names for secret in self.secrets_of(name).values() if secret}

    def permissions_of(self, token: str) -> dict[str, str] | None:
        """What a job's token may do, while the job runs."""
        jobs = (job for run in self.schedule.runs for job in run.jobs if job.state == "running")
        return next((job.permissions for job in jobs if token == f"token-{id(job)}"), None)

    def described(self) -> str:
        return json.dumps([run.described() for run in self.schedule.runs])
