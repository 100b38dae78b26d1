"""Runs of workflows: which job may begin, wait or has to give way.

After "Control the concurrency of workflows and jobs" and "Deployments and environments"
(https://docs.github.com/actions/concepts/workflows-and-actions/deployment-environments). One
step of each job that runs is taken in turn, so that runs are under way at the same time, and
in the same order each time.
"""

from typing import Any

from errors import WorkflowError
from job import Job
from workflow import Workflow, combinations, names


class Run:
    """A run of a workflow."""

    def __init__(self, world, number: int, workflow: Workflow, github: dict[str, Any], inputs: dict[str, str], fork: bool):
        self.world, self.number, self.workflow = world, number, workflow
        self.github, self.inputs, self.is_of_fork = github, inputs, fork
        self.cancelled = False
        self.artifacts: dict[str, dict[str, bytes]] = {}
        self.attested: dict[str, str] = {}
        if "concurrency" in workflow.says:
            raise WorkflowError(f"{workflow.file}: concurrency of the workflow: not played here")
        self.jobs = [
            Job(self, name, says, matrix)
            for name, says in workflow.says["jobs"].items()
            for matrix in combinations(says.get("strategy") or {})
        ]

    def named(self, name: str) -> list[Job]:
        return [job for job in self.jobs if job.name == name]

    @property
    def is_over(self) -> bool:
        return all(job.is_over for job in self.jobs)

    def result(self, name: str) -> str:
        """The result of a job; of a matrix, the worst of its jobs."""
        states = [job.state for job in self.named(name)]
        return next((bad for bad in ("failure", "cancelled", "skipped") if bad in states), "success")

    def results_for(self, says: dict[str, Any]) -> dict[str, Any]:
        """The context `needs`. The jobs of a matrix give their outputs together."""
        needs = {}
        for name in names(says.get("needs")):
            outputs: dict[str, str] = {}
            for job in self.named(name):
                outputs |= job.outputs
            needs[name] = {"result": self.result(name), "outputs": outputs}
        return needs

    def results_above(self, name: str) -> list[str]:
        """The results of all jobs that one waits for, near and far."""
        above: set[str] = set()
        todo = [name]
        while todo:
            for one in names(self.workflow.says["jobs"][todo.pop()].get("needs")):
                if one not in above:
                    above.add(one)
                    todo.append(one)
        return [self.result(one) for one in above]

    def described(self) -> dict[str, Any]:
        return {
            "run": self.number,
            "workflow": self.workflow.file,
            "over": self.is_over,
            "jobs": [
                {
                    "name": job.name,
                    "matrix": job.matrix,
                    "state": job.state,
                    "outputs": job.outputs,
                    "steps": job.steps,
                    "summary": job.summary,
                    "log": job.log,
                }
                for job in self.jobs
            ],
        }


class Schedule:
    """All runs, and the one thing that they share: concurrency groups."""

    def __init__(self):
        self.runs: list[Run] = []
        # Jobs that run in a group or wait for its turn, in the order in which they came.
        self.groups: dict[str, list[Job]] = {}
        # The most jobs of a group that ran at once.
        self.most: dict[str, int] = {}

    def settle(self) -> None:
        """Goes on until nothing can happen any more by itself."""
        while self.turn():
            pass

    def turn(self) -> bool:
        """Lets each job go on by one step, and tells whether any could."""
        jobs = [job for run in self.runs for job in run.jobs if not job.is_over]
        return any([self.go_on(job) for job in jobs])

    def go_on(self, job: Job) -> bool:
        before = job.state
        if job.state == "waiting":
            self.begin(job)
        elif job.state == "pending" and self.has_turn(job):
            self.enter(job)
        elif job.state == "approval" and job.approved:
            job.state = "ready"
        if job.state in ("ready", "running"):
            if self.group_of(job) is not None:
                running = [one for one in self.groups[job.group] if one.state in ("ready", "running")]
                self.most[job.group] = max(self.most.get(job.group, 0), len(running))
            if not job.advance():
                self.leave(job)
            return True
        return job.state != before

    def begin(self, job: Job) -> None:
        needed = [one for name in names(job.says.get("needs")) for one in job.run.named(name)]
        if not all(one.is_over for one in needed):
            return
        if not job.is_wanted():
            job.state = "cancelled" if job.run.cancelled else "skipped"
            return
        if job.group is None:
            self.enter(job)
            return
        queue = self.groups.setdefault(job.group, [])
        concurrency = job.says["concurrency"]
        if isinstance(concurrency, dict) and concurrency.get("cancel-in-progress"):
            raise WorkflowError(f"{job}: cancel-in-progress: not played here")
        if not isinstance(concurrency, dict) or concurrency.get("queue") != "max":
            # One may wait: an older one gives way.
            for older in [one for one in queue if one.state == "pending"]:
                older.state = "cancelled"
                queue.remove(older)
        queue.append(job)
        job.state = "pending"
        if self.has_turn(job):
            self.enter(job)

    def enter(self, job: Job) -> None:
        """A reviewer is asked only now: the group is held meanwhile."""
        environment = job.environment
        waits = environment and job.run.world.has_reviewers(environment)
        job.state = "approval" if waits and not job.approved else "ready"

    def has_turn(self, job: Job) -> bool:
        return self.groups[job.group][0] is job

    def group_of(self, job: Job) -> str | None:
        return job.group if job in self.groups.get(job.group or "", []) else None

    def leave(self, job: Job) -> None:
        if (group := self.group_of(job)) is not None:
            self.groups[group].remove(job)

    def review(self, run: Run, environment: str, approved: bool) -> None:
        waiting = [job for job in run.jobs if job.state == "approval" and job.environment == environment]
        if not waiting:
            raise WorkflowError(f"run {run.number} does not wait for {environment}")
        for job in waiting:
            job.approved = approved
            if not approved:
                job.state = "failure"
                self.leave(job)
