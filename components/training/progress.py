"""Where a training stands: plain numbers, all of them in the checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class Progress:
    """Counted in optimizer steps, epochs, and samples of the epoch that is under way."""

    step: int = 0
    epoch: int = 0  # finished epochs
    samples: int = 0  # of the next epoch that are done, over all ranks
    best_value: float | None = None
    best_step: int = 0
    loss: float = math.inf  # mean over the steps between the last two validations
    loss_sum: float = 0.0  # of the logged steps since the last validation
    loss_steps: int = 0
    window_steps: int = 0  # steps since the last record; their loss is each rank's own (Window)
    stopped: str = ""  # why the run ended; a finished run that is taken up again makes no step more
    seconds: float = 0.0
    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("data_wait", "forward_backward", "validation", "checkpoint"), 0.0))

    def advance(self, batch_size: int, rows: int) -> int:
        """Count a step of one global batch and return its samples; the last one of an epoch may be short."""
        taken = min(batch_size, rows - self.samples)
        self.step += 1
        self.window_steps += 1
        self.samples += taken
        if self.samples == rows:
            self.epoch, self.samples = self.epoch + 1, 0
        return taken
