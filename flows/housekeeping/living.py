"""Who of a store is alive: asked of the kernel for this machine, and watched for the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from flows.in_use import RUNNING, presences
from flows.lease import LOST_SECONDS, read_holder, runs_here

_POLL_SECONDS = 1.0


@dataclass
class Living:
    """Who of a store is alive. Of what is on another machine, the files that did not change while they were watched tell that it is dead."""

    root: Path
    silent: dict[Path, str] = field(default_factory=dict)

    def watch(self, announce: Callable[[str], None], seconds: float = LOST_SECONDS) -> None:
        """Watch the leases of other machines until each has changed, or for as long as a live one may be silent. Here the kernel is asked."""
        paths = [*(self.root / RUNNING).glob("[!.]*.json"), *(self.root / "leases").glob("[!.]*.json")]
        watched = {path: _text(path) for path in paths if self._here(path) is None}
        if watched:
            announce(f"watching {len(watched)} leases of other machines, for {seconds:.0f} s at most")
        deadline = time.monotonic() + seconds
        while watched and time.monotonic() < deadline:
            time.sleep(min(_POLL_SECONDS, seconds / 4))
            watched = {path: text for path, text in watched.items() if _text(path) == text}
        self.silent = watched

    def has(self, path: Path) -> bool:
        """Tell whether the holder of a lease's file is alive, as far as is known."""
        here = self._here(path)
        text = _text(path)
        return bool(text) and (self.silent.get(path) != text if here is None else here)

    def runs(self) -> set[str]:
        """Return the ids of the runs that go on."""
        return {p.run_id for p in presences(self.root) if self.has(p.path)}

    def users(self) -> dict[tuple[str, str], str]:
        """Return the stages that living runs have named, and a run of each."""
        return {stage: p.run_id for p in presences(self.root) if self.has(p.path) for stage in p.stages}

    @staticmethod
    def _here(path: Path) -> bool | None:
        holder = read_holder(path)
        return None if holder is None else runs_here(holder)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
