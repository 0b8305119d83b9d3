"""Learning-rate schedules as pure functions of the step: `factor(step, total_steps, ...) -> float`, multiplied with each group's `lr`.

A schedule keeps no state, so its position after a resume is the step count and nothing else.
`step` counts optimizer steps made so far, from 0; `total_steps` is the planned length of the run. What decays until the end of the run
is at its final factor at `step == total_steps`, one after the last step that is made.

A length is annotated `Steps`: here a number of optimizer steps, in a configuration a text with its unit (`500st`, `3ep`, `0.1dur`),
which `bind` turns into steps once. Every range error is a `UserError` with the option's dotted path.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from components.errors import UserError
from components.spec.schema import Target
from components.spec.targets import lengths, resolve

Steps = int


def bind(schedule: Target, steps_per_epoch: int, total_steps: int) -> Callable[[int], float]:
    """Return a configured schedule as a function of the step alone.

    Args:
        schedule: of the specification; its lengths have units.
        steps_per_epoch: of the training data at the configured batch size.
        total_steps: of the whole run.

    Raises:
        UserError: a length without a unit, or an option out of range.
    """
    # A length above zero is one step at least: a tenth of a run of four steps is still a period.
    steps = {name: max(length.steps(steps_per_epoch, total_steps), int(length.value > 0)) for name, length in lengths(schedule, "schedule").items()}
    factor = functools.partial(resolve(schedule.name), total_steps=total_steps, **{**schedule.options, **steps})
    factor(0)  # what is out of range is told here, not by the first step of the training
    return factor


def constant(step: int, total_steps: int) -> float:
    """Return 1 at every step (notes 002 section 5, "fixed")."""
    return 1.0


def step_decay(step: int, total_steps: int, every: Steps, factor: float = 0.1, hold: Steps = 0) -> float:
    """Multiply by `factor` after every `every` steps, after `hold` steps at 1 (notes 002 section 5, step decay, where the factor is 0.5).

    With `hold: 16000st` and `every: 16000st` the drops come at 32,000 and 48,000 steps (He et al. 2016, section 4.2).

    Raises:
        UserError: `every` below 1, `factor` or `hold` below 0.
    """
    _at_least(1, every=every)
    _at_least(0, factor=factor, hold=hold)
    return float(factor ** (max(0, step - hold) // every))


def exponential(step: int, total_steps: int, every: Steps, factor: float = 0.95) -> float:
    """Decay smoothly, by `factor` in `every` steps: factor^(step / every); with `every` one step, eta alpha^t (notes 002 section 5).

    Raises:
        UserError: `every` below 1, `factor` below 0.
    """
    _at_least(1, every=every)
    _at_least(0, factor=factor)
    return float(factor ** (step / every))


def inverse_time(step: int, total_steps: int, every: Steps) -> float:
    """Decay as 1 / (1 + step / every); with `every` one step, eta / t for t from 1 (Robbins & Monro 1951; notes 002 section 5, T22).

    Its sum diverges and the sum of its squares does not, which is what makes stochastic gradient descent converge.

    Raises:
        UserError: `every` below 1.
    """
    _at_least(1, every=every)
    return every / (every + step)


def triangular(step: int, total_steps: int, half_cycle: Steps, base_factor: float = 0.25) -> float:
    """Go up and down linearly between `base_factor` and 1 (Smith 2017, "Cyclical learning rates", section 3; notes 004 section 5).

    With s = `half_cycle`: `cycle = floor(1 + step / 2s)`, `x = |step / s - 2 cycle + 1|`, `base + (1 - base) max(0, 1 - x)`.
    The notes print a floor where `x` has its absolute value (erratum 004 E10). The default base is the paper's rule (section 3.3): a third
    or a quarter of the peak.

    Raises:
        UserError: `half_cycle` below 1, `base_factor` below 0.
    """
    _at_least(1, half_cycle=half_cycle)
    _at_least(0, base_factor=base_factor)
    cycle = 1 + step // (2 * half_cycle)
    x = abs(step / half_cycle - 2 * cycle + 1)
    return base_factor + (1.0 - base_factor) * max(0.0, 1.0 - x)


def cosine(step: int, total_steps: int, warmup: Steps = 0, final_factor: float = 0.0) -> float:
    """Linear warm-up, then half a cosine from 1 down to `final_factor` (Loshchilov & Hutter 2017, eq. 5, one period).

    The first step of the warm-up is `1 / warmup`, never 0: a step with rate 0 would be wasted.

    Raises:
        UserError: `warmup` or `final_factor` below 0.
    """
    _at_least(0, warmup=warmup, final_factor=final_factor)
    if step < warmup:
        return (step + 1) / warmup
    return _half_cosine(_progress(step, warmup, total_steps), final_factor)


def cosine_restarts(step: int, total_steps: int, period: Steps, multiplier: int = 1, final_factor: float = 0.0) -> float:
    """Half a cosine again and again, each `multiplier` times as long as the one before (SGDR: Loshchilov & Hutter 2017, eq. 5; notes 004 section 5).

    Raises:
        UserError: `period` or `multiplier` below 1, `final_factor` below 0.
    """
    _at_least(1, period=period, multiplier=multiplier)
    _at_least(0, final_factor=final_factor)
    position = step % period if multiplier == 1 else step
    while position >= period:
        position -= period
        period *= multiplier
    return _half_cosine(position / period, final_factor)


def inverse_sqrt(step: int, total_steps: int, warmup: Steps) -> float:
    """Linear warm-up, then the inverse square root of the step (Vaswani et al. 2017, eq. 3; the notes leave it out).

    With t = step + 1 and w = `warmup`: `min(t / w, sqrt(w / t))`, the paper's `d^-1/2 min(t^-1/2, t w^-3/2)` divided by its peak,
    so the optimizer's `lr` is the rate at t = w.

    Raises:
        UserError: `warmup` below 1.
    """
    _at_least(1, warmup=warmup)
    return min((step + 1) / warmup, math.sqrt(warmup / (step + 1)))


def one_cycle(step: int, total_steps: int, rise: Steps, initial_factor: float = 0.04, final_factor: float = 4e-6) -> float:
    """Go up to 1 in `rise` steps, down again in as many, then far below until the end, each linearly (Smith & Topin 2018, "1cycle").

    The defaults are those of torch's OneCycleLR with `three_phase` (1/25, and 1/10,000 of that).

    Raises:
        UserError: `rise` below 1, `initial_factor` or `final_factor` below 0.
    """
    _at_least(1, rise=rise)
    _at_least(0, initial_factor=initial_factor, final_factor=final_factor)
    if step <= 2 * rise:
        return initial_factor + (1.0 - initial_factor) * (1.0 - abs(step / rise - 1.0))
    return initial_factor + (final_factor - initial_factor) * _progress(step, 2 * rise, total_steps)


def linear(step: int, total_steps: int, warmup: Steps = 0, hold: Steps = 0, final_factor: float = 0.0) -> float:
    """Linear warm-up, `hold` steps at 1, then a line down to `final_factor`.

    Without `hold` it is BERT's (Devlin et al. 2019, appendix A.2); with `hold: 0.5dur` CycleGAN's (Zhu et al. 2017, section 4; notes 003 section 5).

    Raises:
        UserError: `warmup`, `hold` or `final_factor` below 0.
    """
    _at_least(0, warmup=warmup, hold=hold, final_factor=final_factor)
    if step < warmup:
        return (step + 1) / warmup
    return 1.0 + (final_factor - 1.0) * _progress(step, warmup + hold, total_steps)


def _progress(step: int, start: int, total_steps: int) -> float:
    """How much of the way from `start` to the end of the run is made, from 0 to 1."""
    return min(1.0, max(0, step - start) / max(1, total_steps - start))


def _half_cosine(progress: float, final_factor: float) -> float:
    return final_factor + (1.0 - final_factor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def _at_least(minimum: int, **options: float) -> None:
    for name, value in options.items():
        if value < minimum:
            raise UserError(f"schedule.{name} is out of range", received=value, expected=f"at least {minimum}")
