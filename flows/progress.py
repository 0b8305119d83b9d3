"""What a person sees while a stage runs: a bar on a terminal, a line now and then elsewhere. A reader of the journal, like the tracker."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from components.training.journal import Follower

_POLL_SECONDS = 0.2
_LINE_EVERY_SECONDS = 10.0


class Terminal:
    """Lines and bars on one stream: stdout for people, stderr when stdout is kept for JSON."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def line(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    @contextmanager
    def follow(self, stage: str, directory: Path) -> Iterator[None]:
        """Show the progress of a stage that writes metrics.jsonl into `directory`."""
        ended = threading.Event()
        show = self._bar if self.stream.isatty() else self._lines
        thread = threading.Thread(target=show, args=(Follower(directory / "metrics.jsonl"), ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(timeout=2)

    def _records(self, follower: Follower, ended: threading.Event) -> Iterator[dict[str, Any]]:
        while True:
            last = ended.is_set()
            yield from follower.new_records()
            if last:
                return
            ended.wait(_POLL_SECONDS)

    def _bar(self, follower: Follower, ended: threading.Event) -> None:
        from tqdm import tqdm

        with tqdm(desc="train", unit="step", file=self.stream, leave=False, dynamic_ncols=True) as bar:
            for record in self._records(follower, ended):
                if record["kind"] == "event" and "total_steps" in record:
                    bar.total = record["total_steps"]
                bar.n = record["step"]
                if record["kind"] == "epoch":
                    bar.set_postfix_str(_figures(record))
                if record.get("name") == "finding":
                    bar.write(f"step {record['step']}, {record['check']} {record['layer']}: {record['text']}", file=self.stream)
                bar.refresh()

    def _lines(self, follower: Follower, ended: threading.Event) -> None:
        shown, left = time.monotonic(), ""
        for record in self._records(follower, ended):
            if "eta_seconds" in record:
                left = f", {record['samples_per_second']:.0f} samples/s, {record['eta_seconds']:.0f} s left"
            if record["kind"] == "epoch" and time.monotonic() - shown > _LINE_EVERY_SECONDS:
                shown = time.monotonic()
                self.line(f"train: epoch {record['epoch']}, step {record['step']}, {_figures(record)}{left}")
            if record.get("name") == "finding":
                self.line(f"train: step {record['step']}, {record['check']} {record['layer']}: {record['text']}")


def _figures(record: dict[str, Any]) -> str:
    names = ("train/loss", "validation/loss", "validation/accuracy")
    return ", ".join(f"{name} {record[name]:.4f}" for name in names if isinstance(record.get(name), float))


def terminal(*, json: bool) -> Terminal:
    """The terminal of a command; with `--json` stdout belongs to the machine."""
    return Terminal(sys.stderr if json else sys.stdout)
