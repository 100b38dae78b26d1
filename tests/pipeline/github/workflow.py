"""A workflow file: what it says, where all of that can be played here.

A key that this does not know is an error: it would be ignored, and the test would show less
than it seems to.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from errors import WorkflowError

FLOW_KEYS = {"name", "run-name", "on", "permissions", "env", "defaults", "concurrency", "jobs"}
JOB_KEYS = {
    "name", "needs", "if", "runs-on", "environment", "concurrency", "outputs", "env", "defaults", "permissions",
    "steps", "strategy", "timeout-minutes",
}  # fmt: skip
STEP_KEYS = {
    "id", "name", "if", "uses", "with", "run", "env", "shell", "working-directory", "continue-on-error",
    "timeout-minutes",
}  # fmt: skip
STRATEGY_KEYS = {"matrix", "fail-fast", "max-parallel"}
CONCURRENCY_KEYS = {"group", "cancel-in-progress", "queue"}


@dataclass(frozen=True)
class Workflow:
    """A file of .github/workflows/."""

    file: str
    name: str
    says: dict[str, Any]

    @staticmethod
    def load(path: Path) -> "Workflow":
        says = yaml.safe_load(path.read_text())
        # YAML 1.1 takes `on` for true.
        says["on"] = says.pop(True, says.get("on"))
        want_known(says, FLOW_KEYS, path.name)
        for name, job in says["jobs"].items():
            want_known(job, JOB_KEYS, f"{path.name}: job {name}")
            want_known(job.get("strategy", {}), STRATEGY_KEYS, f"{path.name}: job {name}: strategy")
            for one in names(job.get("needs")):
                if one not in says["jobs"]:
                    raise WorkflowError(f"{path.name}: job {name} needs {one}, which is no job")
            for number, step in enumerate(job["steps"], 1):
                want_known(step, STEP_KEYS, f"{path.name}: job {name}: step {number}")
                if ("run" in step) == ("uses" in step):
                    raise WorkflowError(f"{path.name}: job {name}: step {number} has one of run and uses")
        return Workflow(path.name, says.get("name", path.name), says)

    @property
    def triggers(self) -> dict[str, Any]:
        """What starts it, with the details of each."""
        on = self.says["on"]
        return {name: {} for name in names(on)} if not isinstance(on, dict) else {k: v or {} for k, v in on.items()}

    def is_started_by(self, event: str, branch: str) -> bool:
        if event not in self.triggers:
            return False
        # Those of a schedule are a list of times.
        details = self.triggers[event]
        branches = details.get("branches") if isinstance(details, dict) else None
        return branches is None or branch in branches


def want_known(says: dict[str, Any], known: set[str], place: str) -> None:
    if unknown := set(says) - known:
        raise WorkflowError(f"{place}: {', '.join(map(str, unknown))}: not played here")


def names(value: Any) -> list[str]:
    """One name or a list of them."""
    return [value] if isinstance(value, str) else list(value or [])


def combinations(strategy: dict[str, Any]) -> list[dict[str, Any]]:
    """The values of a matrix, one for each of its jobs."""
    matrix = dict(strategy.get("matrix") or {})
    included = matrix.pop("include", [])
    if "exclude" in matrix:
        raise WorkflowError("matrix.exclude: not played here")
    made = [dict(zip(matrix, values)) for values in itertools.product(*matrix.values())] if matrix else []
    for extra in included:
        fitting = [one for one in made if all(one.get(key, value) == value for key, value in extra.items() if key in matrix)]
        if matrix and fitting:
            for one in fitting:
                one.update(extra)
        else:
            made.append(dict(extra))
    return made or [{}]


def name_of(value: Any) -> str | None:
    """The name of an environment, or of a concurrency group."""
    return value.get("name", value.get("group")) if isinstance(value, dict) else value
