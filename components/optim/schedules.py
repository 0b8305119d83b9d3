"""Learning-rate schedules as pure functions of the step: `factor(step, total_steps, ...) -> float`, multiplied with each group's `lr`.

A schedule keeps no state, so its position after a resume is the step count and nothing else.
`step` counts optimizer steps made so far, from 0; `total_steps` is the planned length of the run.
"""

from __future__ import annotations

import math

from components.errors import UserError


def constant(step: int, total_steps: int) -> float:
    """Return 1 at every step (notes 002 section 5, "fixed")."""
    return 1.0


def cosine(step: int, total_steps: int, warmup_fraction: float = 0.0, final_factor: float = 0.0) -> float:
    """Linear warm-up, then half a cosine from 1 down to `final_factor` (Loshchilov & Hutter 2017, eq. 5, one period).

    The first step of the warm-up is `1 / warmup_steps`, never 0: a step with rate 0 would be wasted.

    Raises:
        UserError: `warmup_fraction` is no fraction.
    """
    if not 0.0 <= warmup_fraction <= 1.0:
        raise UserError("schedule.warmup_fraction is out of range", received=warmup_fraction, expected="from 0 to 1")
    warmup_steps = round(total_steps * warmup_fraction)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return final_factor + (1.0 - final_factor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def step_decay(step: int, total_steps: int, every_fraction: float = 1 / 3, factor: float = 0.1) -> float:
    """Multiply by `factor` at every `every_fraction` of the run: eta <- factor * eta every K steps (notes 002 section 5, step decay).

    Raises:
        UserError: `every_fraction` is not above 0.
    """
    if every_fraction <= 0.0:
        raise UserError("schedule.every_fraction is out of range", received=every_fraction, expected="above 0")
    # The small addend keeps an exact multiple (step 30 of 90 with a third) from rounding down to the period before.
    return float(factor ** math.floor(step / (total_steps * every_fraction) + 1e-9))
