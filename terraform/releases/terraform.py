"""Terraform in the folder above, for one environment and within one time limit."""

from __future__ import annotations

import codecs
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent

# As Terraform repeats the exit code of a command that it ran.
EXIT_STATUS = re.compile(r"exit status (\d+)")


class Failed(Exception):
    """Terraform did not do it. `status` is the exit code of a script that it ran, or 0."""

    def __init__(self, what: str, status: int = 0) -> None:
        super().__init__(what)
        self.status = status


class ApplyFailed(Failed):
    """Some of it may be done."""


class Interrupted(Exception):
    """A signal or the time limit ended it. Terraform has saved its state and freed its lock."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code


class Terraform:
    def __init__(self, environment: str, limit_seconds: int) -> None:
        self.settings = Path("environments") / f"{environment}.tfvars"
        self._backend = Path("environments") / f"{environment}.tfbackend"
        self._deadline = time.monotonic() + limit_seconds
        self._limit_seconds = limit_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._interruption: Interrupted | None = None
        self._is_told = False
        # Python handles a signal between two steps of this program. One that arrives as a step
        # begins to wait does not end the wait, but what it writes here does.
        self._signalled, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def init(self) -> None:
        """Takes the state of the environment, if a file here says where it is."""
        if (FOLDER / self._backend).exists():
            self._run("init", "-reconfigure", f"-backend-config={self._backend}")

    def plan(self, file: Path, *arguments: str) -> bool:
        """Writes a plan to a file, and returns whether it changes anything. Its text is shown
        nowhere, as it may hold secrets."""
        options = [f"-out={file}", "-detailed-exitcode", f"-var-file={self.settings}"]
        code, _ = self._start("plan", *options, *arguments, show=False)
        if code not in (0, 2):
            raise Failed("terraform plan failed: nothing was changed")
        return code == 2

    def apply(self, *arguments: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            plan = Path(folder) / "plan"
            self.plan(plan, *arguments)
            code, said = self._start("apply", str(plan))
        if code != 0:
            status = EXIT_STATUS.search(said)
            raise ApplyFailed("terraform apply failed", int(status[1]) if status else 0)

    def plan_as_json(self, file: Path) -> bool:
        """Takes no lock, so that the role that only reads can plan."""
        # A file that exists already keeps its mode unless it is changed.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(descriptor, 0o600)
        with os.fdopen(descriptor, "w") as into, tempfile.TemporaryDirectory() as folder:
            plan = Path(folder) / "plan"
            changes = self.plan(plan, "-lock=false")
            code, text = self._start("show", "-json", str(plan), show=False)
            if code != 0:
                raise Failed("terraform show failed")
            into.write(text)
        return changes

    def outputs(self) -> dict[str, Any]:
        code, text = self._start("output", "-json", show=False)
        if code != 0:
            raise Failed("terraform output failed")
        return {name: output["value"] for name, output in json.loads(text).items()}

    def _run(self, *arguments: str) -> None:
        code, _ = self._start(*arguments)
        if code != 0:
            raise Failed(f"terraform {arguments[0]} failed")

    def _start(self, subcommand: str, *arguments: str, show: bool = True) -> tuple[int, str]:
        """The exit code, and what it printed; only its errors are shown unless all is."""
        self._stop_if_interrupted()
        options = [] if subcommand in ("show", "output") else ["-input=false"]
        self._process = subprocess.Popen(
            ["terraform", subcommand, "-no-color", *options, *arguments],
            cwd=FOLDER,
            env={**os.environ, "TF_IN_AUTOMATION": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if show else None,
            # A terminal's interrupt reaches only this process, which passes it on once: the
            # second one would have Terraform end without saving its state.
            start_new_session=True,
        )
        self._pass_on()
        limit = threading.Timer(max(self._deadline - time.monotonic(), 0), self._on_limit)
        limit.start()
        said = ""
        for text in self._printed(self._process):
            said += text
            if show:
                sys.stderr.write(text)
                sys.stderr.flush()
        code = self._process.wait()
        limit.cancel()
        self._process = None
        self._stop_if_interrupted()
        return code, said

    def _printed(self, process: subprocess.Popen[bytes]) -> Iterator[str]:
        """What it prints, as soon as it does."""
        assert process.stdout
        output = process.stdout.fileno()
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            ready, _, _ = select.select([output, self._signalled], [], [])
            if self._signalled in ready:
                os.read(self._signalled, 1024)
            if output in ready:
                printed = os.read(output, 65536)
                yield decoder.decode(printed, final=not printed)
                if not printed:
                    process.stdout.close()
                    return

    def _stop_if_interrupted(self) -> None:
        if self._interruption:
            raise self._interruption

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._interrupt(Interrupted(f"ended by {signal.Signals(number).name}", 128 + number))

    def _on_limit(self) -> None:
        self._interrupt(Interrupted(f"not over after {self._limit_seconds} s", 1))

    def _interrupt(self, why: Interrupted) -> None:
        self._interruption = self._interruption or why
        self._pass_on()

    def _pass_on(self) -> None:
        """Makes Terraform stop cleanly: a killed one would leave its lock."""
        if self._interruption and self._process and not self._is_told:
            self._is_told = True
            self._process.send_signal(signal.SIGINT)
