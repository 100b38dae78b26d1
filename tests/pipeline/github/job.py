"""A job on its runner: its steps, one after the other, as GitHub runs them."""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import actions
from errors import WorkflowError
from expressions import evaluate, fill, show, truthy
from files import read_values
from workflow import name_of

STATUS = re.compile(r"\b(always|failure|success|cancelled)\s*\(", re.IGNORECASE)


class Job:
    """One job of a run; of a matrix, one of its jobs.

    Its state is waiting (for jobs that it needs), pending (for its concurrency group),
    approval (for a reviewer), running, or its result.
    """

    def __init__(self, run, name: str, says: dict[str, Any], matrix: dict[str, Any]):
        self.run, self.name, self.says, self.matrix = run, name, says, matrix
        self.state, self.approved = "waiting", False
        self.outputs: dict[str, str] = {}
        self.steps: list[dict[str, Any]] = []
        self.summary, self.log = "", ""
        self._playing: Iterator[None] | None = None
        self._failed = False

    def __str__(self):
        kind = f" ({', '.join(map(str, self.matrix.values()))})" if self.matrix else ""
        return f"{self.run.workflow.file}: job {self.name}{kind}"

    @property
    def is_over(self) -> bool:
        return self.state in ("success", "failure", "skipped", "cancelled")

    @property
    def environment(self) -> str | None:
        name = name_of(self.says.get("environment"))
        return fill(name, self.known() | {"vars": self.run.world.vars_of(None)}) if name else None

    @property
    def group(self) -> str | None:
        name = name_of(self.says.get("concurrency"))
        return fill(name, self.contexts()).lower() if name else None

    @property
    def permissions(self) -> dict[str, str]:
        """What its token may do; one of a fork's pull request may only read."""
        granted = self.says.get("permissions", self.run.workflow.says.get("permissions"))
        if not isinstance(granted, dict):
            raise WorkflowError(f"{self}: its permissions are not listed")
        if not self.run.is_of_fork:
            return granted
        return {name: "read" for name, right in granted.items() if name != "id-token" and right != "none"}

    def known(self) -> dict[str, Any]:
        """What expressions of the job know, wherever it runs."""
        return {
            "github": self.run.github | {"job": self.name, "token": f"token-{id(self)}"},
            "needs": self.run.results_for(self.says),
            "inputs": self.run.inputs,
            "matrix": self.matrix,
            "strategy": {"fail-fast": (self.says.get("strategy") or {}).get("fail-fast", True)},
        }

    def contexts(self, *more: str) -> dict[str, Any]:
        """The same with what its environment adds, and the contexts that not all of them know."""
        known = self.known() | {"vars": self.run.world.vars_of(self.environment)}
        if "secrets" in more:
            secrets = {} if self.run.is_of_fork else self.run.world.secrets_of(self.environment)
            known["secrets"] = {**secrets, "GITHUB_TOKEN": known["github"]["token"]}
        return known

    def is_wanted(self) -> bool:
        """Whether the job's own condition lets it run, now that those are over that it needs."""
        results = self.run.results_above(self.name)
        functions = status(
            failed="failure" in results, cancelled=self.run.cancelled, succeeded=all(r == "success" for r in results)
        )
        contexts = {key: value for key, value in self.contexts().items() if key not in ("matrix", "strategy")}
        return holds(self.says.get("if"), contexts, functions)

    def advance(self) -> bool:
        """Runs the next step, and tells whether there was one."""
        if self._playing is None:
            self.state, self._playing = "running", self._play()
        try:
            next(self._playing)
            return True
        except StopIteration:
            return False

    def _play(self) -> Iterator[None]:
        with tempfile.TemporaryDirectory(dir=self.run.world.folder) as folder:
            runner = Runner(self, Path(folder))
            for number, step in enumerate(self.says["steps"], 1):
                if runner.play(step, number):
                    yield
            contexts = self.contexts("secrets") | runner.contexts()
            for name, text in (self.says.get("outputs") or {}).items():
                # GitHub drops an output that holds a secret.
                value = fill(text, contexts, runner.functions())
                if value and not any(secret in value for secret in self.run.world.all_secrets()):
                    self.outputs[name] = value
        self.state = "cancelled" if self.run.cancelled else "failure" if runner.failed else "success"


def status(failed: bool, cancelled: bool, succeeded: bool) -> dict[str, Any]:
    return {
        "always": lambda: True,
        "failure": lambda: failed,
        "cancelled": lambda: cancelled,
        "success": lambda: succeeded and not cancelled,
    }


def holds(condition: Any, contexts: dict[str, Any], functions: dict[str, Any]) -> bool:
    """Whether a condition is true; one that asks for no status also wants success."""
    text = show(condition if condition is not None else "success()").strip()
    if text.startswith("${{") and text.endswith("}}") and text.count("${{") == 1:
        text = text[3:-2]
    value = truthy(evaluate(text, contexts, functions))
    return value if STATUS.search(text) else value and functions["success"]()


class Runner:
    """The machine of one job: its workspace, environment and files."""

    def __init__(self, job: Job, folder: Path):
        self.job, self.folder = job, folder
        self.world = job.run.world
        self.workspace, self.temp, self.home = folder / "work", folder / "temp", folder / "home"
        for path in (self.workspace, self.temp, self.home):
            path.mkdir()
        self.failed = False
        self.steps: dict[str, Any] = {}
        self.path = self.world.path
        self.env: dict[str, str] = {}
        for says in (job.run.workflow.says, job.says):
            for name, text in (says.get("env") or {}).items():
                self.env[name] = fill(text, job.contexts("secrets"))

    def functions(self) -> dict[str, Any]:
        cancelled = self.job.run.cancelled
        return status(failed=self.failed, cancelled=cancelled, succeeded=not self.failed)

    def contexts(self) -> dict[str, Any]:
        state = "cancelled" if self.job.run.cancelled else "failure" if self.failed else "success"
        machine = {"os": "Linux", "arch": "X64", "temp": str(self.temp)}
        return {"steps": self.steps, "env": self.env, "job": {"status": state}, "runner": machine}

    def play(self, step: dict[str, Any], number: int) -> bool:
        """Runs a step if it is wanted, and tells whether it was."""
        contexts = self.job.contexts() | self.contexts()
        began = time.monotonic()
        place = f"{self.job}: step {number} ({step.get('name') or step.get('uses') or step.get('id') or step['run'].strip()})"
        try:
            if not holds(step.get("if"), contexts, self.functions()):
                self.note(step, "skipped", {})
                return False
            contexts |= self.job.contexts("secrets")
            environment = self.env | {k: fill(v, contexts, self.functions()) for k, v in (step.get("env") or {}).items()}
            contexts["env"] = environment
            if "uses" in step:
                code, outputs = self.use(step, contexts)
            else:
                code, outputs = self.run(step, contexts, environment)
        except WorkflowError as error:
            raise WorkflowError(f"{place}: {error}") from error
        outcome = "failure" if code else "success"
        self.note(step, outcome, outputs, code, time.monotonic() - began)
        if code and not truthy(step.get("continue-on-error")):
            self.failed = True
        return True

    def note(self, step: dict[str, Any], outcome: str, outputs: dict[str, str], code: int = 0, seconds: float = 0) -> None:
        goes_on = outcome == "failure" and step.get("continue-on-error")
        if "id" in step:
            conclusion = "success" if goes_on else outcome
            self.steps[step["id"]] = {"outputs": outputs, "outcome": outcome, "conclusion": conclusion}
        said = step.get("name") or step.get("id") or step.get("uses", "").split("@")[0] or step["run"].strip()
        self.job.steps.append({"step": said, "outcome": outcome, "code": code, "seconds": round(seconds, 1)})

    def use(self, step: dict[str, Any], contexts: dict[str, Any]) -> tuple[int, dict[str, str]]:
        """Makes a stand-in do what an action does."""
        given = {name: fill(text, contexts, self.functions()) for name, text in (step.get("with") or {}).items()}
        try:
            outputs = actions.find(step["uses"])(self, given) or {}
        except actions.Failure as failure:
            self.say(f"Error: {failure}\n")
            return 1, {}
        return 0, outputs

    def run(self, step: dict[str, Any], contexts: dict[str, Any], environment: dict[str, str]):
        """Runs the step's script."""
        files = {name: self.temp / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            file.write_text("")
        script = self.temp / "script.sh"
        script.write_text(fill(step["run"], contexts, self.functions()))
        defaults = {}
        for says in (self.job.run.workflow.says, self.job.says):
            defaults |= (says.get("defaults") or {}).get("run") or {}
        defaults |= {key: step[key] for key in ("shell", "working-directory") if key in step}
        match defaults.get("shell"):
            case None:
                shell = ["bash", "-e"]
            case "bash":
                shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
            case other:
                raise WorkflowError(f"shell {other}: not played here")
        done = subprocess.run(
            [*shell, str(script)],
            cwd=self.workspace / defaults.get("working-directory", "."),
            env=self.variables(files) | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.say(done.stdout)
        outputs = read_values(files["GITHUB_OUTPUT"].read_text())
        self.env |= read_values(files["GITHUB_ENV"].read_text())
        self.path = ":".join([*reversed(files["GITHUB_PATH"].read_text().split()), self.path])
        self.job.summary += files["GITHUB_STEP_SUMMARY"].read_text()
        return done.returncode, outputs

    def variables(self, files: dict[str, Path]) -> dict[str, str]:
        """What GitHub sets for every script. The token is not among it."""
        run = self.job.run
        github = {f"GITHUB_{name.upper()}": value for name, value in run.github.items() if isinstance(value, str)}
        return {
            **self.world.environment,
            **github,
            **{name: str(path) for name, path in files.items()},
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_JOB": self.job.name,
            "GITHUB_WORKSPACE": str(self.workspace),
            "RUNNER_TEMP": str(self.temp),
            "RUNNER_OS": "Linux",
            "HOME": str(self.home),
            "PATH": self.path,
            "LANG": os.environ.get("LANG", "C.UTF-8"),
        }

    def say(self, text: str) -> None:
        """Adds to the log, in which secrets are masked."""
        for secret in self.world.all_secrets():
            text = text.replace(secret, "***")
        self.job.log += text
