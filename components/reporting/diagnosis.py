"""What the curves of a finished training say: the patterns of notes 002 D4 (figures 102-107) and D38, and what to try.

Legend: n epochs; t, v losses of training and validation; sigma, the noise of a curve from one epoch to the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Curve = npt.NDArray[np.float64]
Pattern = Literal[
    "too short to judge",
    "not finite",
    "unstable",
    "underfit",
    "not converged",
    "overfit",
    "good",
    "fitted, not validated",
    "noisy validation",
    "validation easier",
]

MIN_EPOCHS = 6
SIGNIFICANT = 4.0  # standard errors; a curve is looked at in several places, so two would often lie
FLAT_GAIN = 0.1  # underfit: the training loss has lost less than this part of its level
STILL_FALLING = 0.05  # not converged: of the whole gain, lost in the last third of the run
RISE = 0.1  # overfit, unstable: of the whole gain, lost again since the best epoch
GAP = 0.3  # overfit: of the whole gain, between validation and training at the end
NOISE = 0.1  # noisy validation: of the whole gain, from one epoch to the next
EASIER = 0.05  # validation easier: of the whole gain, below training

_TRIES: dict[Pattern, tuple[str, ...]] = {
    "too short to judge": (f"train for {MIN_EPOCHS} epochs or more",),
    "not finite": ("a learning rate ten times lower (D27)", "look for a logarithm of 0 or a division by 0 (D27)"),
    "unstable": ("a learning rate ten times lower (D28)", "clip the gradient (D26)", "another optimizer (D29)"),
    "underfit": (
        "a learning rate ten times higher or lower (D28)",
        "another optimizer (D29)",
        "less regularisation and augmentation (D30)",
        "a larger network (D31)",
    ),
    "not converged": ("more epochs: give it time (D38)", "a learning rate ten times higher (D28)", "another optimizer (D29)"),
    "overfit": ("stop at the best epoch", "more regularisation and augmentation (D30)", "more data", "a smaller network"),
    "good": (),
    "fitted, not validated": ("hold rows out for validation: without them nobody knows whether it is overfit",),
    "noisy validation": ("a larger validation split", "average the weights (trainer.ema_decay)"),
    "validation easier": ("compare the splits: shuffle before splitting", "less regularisation, which acts in training only (D30)"),
}


@dataclass(frozen=True)
class Diagnosis:
    """One thing that the curves say.

    Args:
        pattern: its name.
        text: one sentence.
        figures: what it was judged by, in the loss's unit unless the name says otherwise.
        tries: what to try, most promising first.
    """

    pattern: Pattern
    text: str
    figures: dict[str, float]
    tries: tuple[str, ...]


def diagnose(epochs: Sequence[Mapping[str, Any]]) -> list[Diagnosis]:
    """Name the pattern of a run: one word about the fit, then what there is to say about the validation split.

    Every difference is measured by the gain, what the training loss has lost since its first epoch, and has to stand out of the curve's noise.
    The noise is estimated from second differences (their variance is six times that of independent noise), so a smooth curve has next to none.

    Args:
        epochs: the journal's epoch records in order: `train/loss` and, where it is validated, `validation/loss`. None is a NaN in the journal.
    """
    train = _curve(epochs, "train/loss")
    validation = _curve(epochs, "validation/loss")
    bad = int((~np.isfinite(train)).sum() + (~np.isfinite(validation)).sum())
    if bad:
        return [_diagnosis("not finite", f"{bad} of the losses are not finite", {"not_finite_losses": float(bad)})]
    if len(train) < MIN_EPOCHS:
        text = f"{len(train)} epochs say nothing about a trend; {MIN_EPOCHS} do"
        return [_diagnosis("too short to judge", text, {"epochs": float(len(train))})]
    if len(validation) != len(train):
        return [_fit(train, None)]
    return [_fit(train, validation), *_split(train, validation)]


def _diagnosis(pattern: Pattern, text: str, figures: dict[str, float]) -> Diagnosis:
    return Diagnosis(pattern, text, figures, _TRIES[pattern])


def _curve(epochs: Sequence[Mapping[str, Any]], name: str) -> Curve:
    values = [record[name] for record in epochs if name in record]
    return np.array([math.nan if value is None else float(value) for value in values])


def _fit(train: Curve, validation: Curve | None) -> Diagnosis:
    """Say how well the run has fitted; the worst first."""
    gain, level = _gain(train), float(np.abs(train).max())
    curves = [train] if validation is None else [train, validation]
    train_rise, train_limit = _rise(train, gain)
    if train_rise > train_limit:
        figures = {"training_rise": train_rise, "limit": train_limit}
        return _diagnosis("unstable", f"the training loss has risen by {train_rise:.3g} since its best epochs", figures)
    if validation is not None and (overfit := _overfit(train, validation, gain)):
        return overfit
    falls = [_fall(curve) for curve in curves]
    if all(fall > max(STILL_FALLING * gain, SIGNIFICANT * error) for fall, error in falls):
        figures = {"fall_in_last_third": falls[-1][0], "gain": gain, "limit": STILL_FALLING * gain}
        return _diagnosis("not converged", f"the loss still falls: by {falls[-1][0]:.3g} over the last third of the run", figures)
    if gain < FLAT_GAIN * level:
        text = f"the training loss has lost only {gain:.3g} of {level:.3g}, and falls no more"
        return _diagnosis("underfit", text, {"gain": gain, "level": level, "limit": FLAT_GAIN * level})
    if validation is None:
        return _diagnosis("fitted, not validated", "the training loss has fallen and levelled off", {"gain": gain})
    gap = _end(validation) - _end(train)
    return _diagnosis("good", "both losses have fallen and levelled off close to each other", {"gain": gain, "gap": gap})


def _overfit(train: Curve, validation: Curve, gain: float) -> Diagnosis | None:
    rise, limit = _rise(validation, gain)
    if rise > limit:
        best = int(validation.argmin()) + 1
        text = f"the validation loss has risen by {rise:.3g} since its best, epoch {best} of {len(train)}, while the training loss has not"
        return _diagnosis("overfit", text, {"validation_rise": rise, "limit": limit, "best_epoch": float(best)})
    gap, error = _end(validation) - _end(train), math.hypot(_noise(train), _noise(validation)) / math.sqrt(_width(train))
    if gap > max(GAP * gain, SIGNIFICANT * error) and gain >= FLAT_GAIN * float(np.abs(train).max()):
        text = f"the validation loss stays {gap:.3g} above that of training, which has fallen by {gain:.3g}"
        return _diagnosis("overfit", text, {"gap": gap, "gain": gain, "limit": GAP * gain})
    return None


def _split(train: Curve, validation: Curve) -> list[Diagnosis]:
    """Say what the curves tell of the validation split (figures 106 and 107)."""
    found = []
    scale = max(_gain(train), FLAT_GAIN * float(np.abs(train).max()))  # a run that gained nothing is not noisy by that
    noise = _noise(validation)
    if noise > max(NOISE * scale, 2 * _noise(train)):
        text = f"the validation loss jumps by {noise:.3g} from epoch to epoch: the split may be too small"
        found.append(_diagnosis("noisy validation", text, {"noise": noise, "limit": NOISE * scale}))
    # A training loss is the mean over its epoch, so what belongs beside the validation after epoch i lies between those of epochs i and i + 1.
    below = ((train[:-1] + train[1:]) / 2 - validation[:-1])[len(train) // 2 :]
    error = math.hypot(noise, _noise(train)) / math.sqrt(len(below))
    if below.mean() > max(EASIER * scale, SIGNIFICANT * error):
        text = f"the validation loss lies {below.mean():.3g} below that of training in the second half"
        found.append(_diagnosis("validation easier", text, {"below": float(below.mean()), "limit": EASIER * scale}))
    return found


def _width(curve: Curve) -> int:
    """How many epochs are averaged for a level."""
    return max(2, len(curve) // 6)


def _end(curve: Curve) -> float:
    return float(curve[-_width(curve) :].mean())


def _gain(curve: Curve) -> float:
    """Return what the curve has lost from its first epoch to its lowest level, at least 0."""
    return max(0.0, float(curve[0] - _levels(curve).min()))


def _levels(curve: Curve) -> Curve:
    """Return the moving average, (n,) -> (n - width + 1,)."""
    return np.convolve(curve, np.full(_width(curve), 1.0 / _width(curve)), mode="valid")


def _rise(curve: Curve, gain: float) -> tuple[float, float]:
    """Return how far the end lies above the lowest level, and from where on that means something."""
    error = _noise(curve) * math.sqrt(2.0 / _width(curve))  # of a difference of two levels
    floor = FLAT_GAIN * float(np.abs(curve).max()) * RISE  # a hundredth of the level, for a curve that gained nothing
    return _end(curve) - float(_levels(curve).min()), max(RISE * gain, floor, SIGNIFICANT * error)


def _fall(curve: Curve) -> tuple[float, float]:
    """Return how far a straight line through the last third falls, and the standard error of that."""
    tail = curve[-max(4, len(curve) // 3) :]
    n = len(tail)
    slope = float(np.polyfit(np.arange(n), tail, 1)[0])
    return -slope * (n - 1), _noise(curve) * math.sqrt(12.0 / (n * (n * n - 1))) * (n - 1)


def _noise(curve: Curve) -> float:
    """Return sigma from second differences: the larger of two estimates, so that a lucky one makes no pattern out of noise.

    The median over the whole curve does not see the bend at its beginning (0.6745 is a normal's); the root mean square is of the later half.
    """
    bends = np.diff(curve, 2)
    later = bends[len(bends) // 2 :]
    return max(float(np.median(np.abs(bends))) / 0.6745, float(np.sqrt(np.mean(later**2)))) / math.sqrt(6.0)
