"""Lengths of training as people say them: `3ep` (epochs), `500st` (optimizer steps), `0.1dur` (of the whole run)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from components.errors import UserError

_FORM = re.compile(r"(\d+(?:\.\d+)?)(ep|st|dur)")
_EXPECTED = "a number and its unit: 3ep (epochs), 500st (steps) or 0.1dur (of the run)"


@dataclass(frozen=True)
class Duration:
    """A length in one of three units; `steps` makes it a number of optimizer steps, once, when the length of an epoch is known."""

    value: float
    unit: str

    def steps(self, steps_per_epoch: int, total_steps: int) -> int:
        """Return the length in optimizer steps, rounded to the nearest.

        Args:
            steps_per_epoch: of the training data at the configured batch size.
            total_steps: of the whole run.
        """
        whole = {"ep": steps_per_epoch, "st": 1, "dur": total_steps}[self.unit]
        return math.floor(self.value * whole + 0.5)


def parse_duration(text: Any, path: str) -> Duration:
    """Read `3ep`, `500st` or `0.1dur`.

    Args:
        text: as configured.
        path: dotted path in the configuration, for messages.

    Raises:
        UserError: another form, a fraction of a step, or more than the whole run.
    """
    match = _FORM.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise UserError(f"{path} is no length of training", received=repr(text), expected=_EXPECTED)
    value, unit = float(match[1]), match[2]
    if (unit == "st" and value != int(value)) or (unit == "dur" and value > 1.0):
        raise UserError(f"{path} is no length of training", received=repr(text), expected="whole steps, and at most 1dur")
    return Duration(value, unit)
