"""One process of a stack: started apart from the terminal, known by pid and start time, ended with all that it started."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from components.errors import RunError
from components.files import read_object, write_json
from flows.processes import start_ticks

_POLL_SECONDS = 0.1
_TAIL_LINES = 20


@dataclass(frozen=True)
class Service:
    """A process that serves until it is ended.

    Args:
        name: of its record, NAME.json, and its log, NAME.log.
        folder: where they lie.
        command: what is run.
        env: its environment.
        answers: whether it does its work; asked while the process is there.
        says: a line of its log that tells that it has started.
        tells_children: whether its children are told to end when it is: a worker that is told to waits for its runs, for hours.
    """

    name: str
    folder: Path
    command: list[str]
    env: dict[str, str]
    answers: Callable[[], bool]
    says: str = ""
    tells_children: bool = False

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def pid(self) -> int | None:
        """Return the pid of the process that was started last, None when it is gone; another process may have got its number since."""
        record = read_object(self.folder / f"{self.name}.json")
        ticks = start_ticks(record["pid"]) if record else None
        return record["pid"] if ticks is not None and ticks == record["ticks"] else None

    def ready(self) -> bool:
        return self.pid() is not None and self.says in self.log.read_text(errors="replace") and self.answers()

    def start(self, root: Path) -> None:
        """Start the process in the project's folder, as the leader of a session of its own."""
        with open(self.log, "wb") as output:
            streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
            process = subprocess.Popen(self.command, cwd=root, env=self.env, start_new_session=True, **streams)
        write_json(self.folder / f"{self.name}.json", {"pid": process.pid, "ticks": start_ticks(process.pid), "command": self.command})

    def wait(self, seconds: float) -> None:
        """Wait until it is ready.

        Raises:
            RunError: it ended, or is not ready within so many seconds; with the end of its log.
        """
        deadline = time.monotonic() + seconds
        while not self.ready():
            if self.pid() is None:
                raise RunError(f"{self.name} ended as it started; the end of {self.log}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise RunError(f"{self.name} is not ready after {seconds:g} s; the end of {self.log}:\n{self.tail()}")
            time.sleep(_POLL_SECONDS)

    def end(self, seconds: float) -> None:
        """Ask the process to end and give it so many seconds, and its children where they are told too; what is left is the caller's to end."""
        pid, told = self.pid(), {}
        if pid is not None:
            with suppress(psutil.NoSuchProcess):
                leader = psutil.Process(pid)
                told = {process: start_ticks(process.pid) for process in [leader, *(leader.children() if self.tells_children else [])]}
        for process in told:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        deadline = time.monotonic() + seconds
        while any(ticks is not None and start_ticks(process.pid) == ticks for process, ticks in told.items()) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        (self.folder / f"{self.name}.json").unlink(missing_ok=True)

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
