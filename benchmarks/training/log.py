"""What every contender hands over: the loss and the time at every so many steps; and what is made of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from benchmarks.training.gate import Gate
from components.training.meters import peak_memory_gib


@dataclass(frozen=True)
class Entry:
    """After `step` steps.

    Args:
        loss: of that step, or the mean since the entry before.
        seconds: on a clock of the contender's own.
        peak_gib: most memory held by then, as components/training/meters.py measures it.
    """

    step: int
    loss: float
    seconds: float
    peak_gib: float


@dataclass
class Log:
    """Takes the entries of a loop written by hand, in order.

    Args:
        every_steps: between entries.
        device: whose memory is noted.
        gate: where to stop now and then, if anywhere.
    """

    every_steps: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    entries: list[Entry] = field(default_factory=list)
    gate: Gate | None = None

    def due(self, step: int) -> bool:
        """Say whether to note the loss after `step` steps; getting it makes a GPU wait for its host, so not at every step. Called once a step."""
        if self.gate is not None:
            self.gate.tick()
        return step % self.every_steps == 0

    def note(self, step: int, loss: float) -> None:
        """Add an entry."""
        self.entries.append(Entry(step, loss, time.perf_counter(), peak_memory_gib(self.device)))


def samples_per_second(entries: Sequence[Entry], warmup_steps: int, batch_size: int) -> float:
    """Return the rate from the entry at `warmup_steps` to the last one, everything between them included.

    Raises:
        ValueError: there is no entry at `warmup_steps`, or none after it.
    """
    first = next((e for e in entries if e.step == warmup_steps), None)
    if first is None or entries[-1].step <= warmup_steps:
        raise ValueError(f"needs an entry at step {warmup_steps} and one after it, received {[e.step for e in entries]}")
    last = entries[-1]
    return batch_size * (last.step - first.step) / (last.seconds - first.seconds)
