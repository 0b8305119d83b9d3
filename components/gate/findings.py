"""The checks of the gate. Each says what it looked at, whether that is good enough, and the numbers behind it.

A gain is always better when it is greater: of a loss it is the champion's less the candidate's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from components.gate.bootstrap import Interval, bootstrap_interval
from components.gate.contender import Contender
from components.gate.rows import FairRows
from components.gate.slices import Rows
from components.spec.parse import expectation_met
from components.spec.schema import Expectation, GateSpec

Values = npt.NDArray[np.float64]
_CALIBRATION = "expected_calibration_error"


@dataclass(frozen=True)
class Finding:
    """One check's verdict."""

    name: str
    passed: bool
    detail: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Paired:
    """The scores of both on the rows that both may be judged on, `(N,)` each, and their row numbers."""

    score: str
    candidate: Values
    champion: Values
    rows: Rows

    @property
    def gains(self) -> Values:
        """By how much the candidate is better, of each sample."""
        difference = self.candidate - self.champion
        return difference if self.score == "accuracy" else -difference


def expectations(candidate: Contender, wishes: Sequence[Expectation]) -> Iterator[Finding]:
    """Those of the experiment file."""
    for wish in wishes:
        bound = f">= {wish.minimum:g}" if wish.minimum is not None else f"<= {wish.maximum:g}"
        value = candidate.value(*wish.metric.split("/", 1))
        told = "not measured" if value is None else f"{value:.4g}"
        passed = expectation_met(wish, candidate.metrics) is True
        yield Finding(
            f"expected {wish.metric}", passed, f"{told}, expected {bound}", {"value": value, "minimum": wish.minimum, "maximum": wish.maximum}
        )


def leak(rows: FairRows, gate: GateSpec, compared: bool) -> Finding:
    """Rows that the candidate is judged on must not be rows that it was trained on."""
    fraction = rows.leaked / max(rows.total, 1)
    detail = f"{rows.leaked} of {rows.total} judged rows stand in the candidate's training data"
    if compared and rows.seen is None:
        detail += "; what the champion was trained on is gone, so rows that it knows could not be left out"
    elif rows.seen is not None and rows.seen > rows.leaked:
        detail += f"; {rows.seen} in the champion's: left out of the comparison"
    return Finding("leak", fraction <= gate.max_leak_fraction, detail, {"fraction": fraction, "champion_rows": rows.seen})


def score(paired: Paired, gate: GateSpec) -> Finding:
    """The candidate must surely not be worse by more than the margin."""
    if not len(paired.rows):
        return Finding(paired.score, False, "there is no row that both models were not trained on", {"rows": 0})
    gain = bootstrap_interval(paired.gains, gate.resamples, gate.confidence, gate.seed)
    allowed = gate.margin * abs(float(paired.champion.mean()))
    passed = gain.lower >= -allowed if gate.margin else gain.lower > 0
    wished = f"its worse end may not lie below {-allowed:+.4f}" if gate.margin else "all of it must lie above 0"
    detail = f"{_means(paired)}: a gain of {_interval(gain)} on {gain.rows:,} rows; {wished}"
    if not passed and gain.upper >= -allowed:
        detail += "; more test rows would narrow the interval"
    return Finding(paired.score, passed, detail, _numbers(paired, gain))


def slices(paired: Paired, found: Mapping[str, Rows], gate: GateSpec) -> Iterator[Finding]:
    """No slice may surely be worse by more than the margin. Of S slices each is judged at 1 - (1 - confidence) / S (Bonferroni), lest among
    many classes one is refused by chance."""
    assert gate.slices is not None
    inside = {name: np.isin(paired.rows, rows) for name, rows in found.items()}
    large = {name: mask for name, mask in inside.items() if mask.sum() >= gate.slices.min_rows}
    confidence = 1 - (1 - gate.confidence) / max(len(large), 1)
    for name, mask in large.items():
        part = Paired(paired.score, paired.candidate[mask], paired.champion[mask], paired.rows[mask])
        yield _not_surely_worse(f"slice {name}", part, gate, gate.slices.margin, confidence)


def judged(paired: Paired, gate: GateSpec) -> Finding:
    """What the experiment is judged by, beside the score, where each sample has it. As of a slice: the loss of a classifier hangs on few rows, so
    that nobody could ever be sure that it is not worse by two percent."""
    return _not_surely_worse(paired.score, paired, gate, gate.margin, gate.confidence)


def _not_surely_worse(name: str, paired: Paired, gate: GateSpec, margin: float, confidence: float) -> Finding:
    gain = bootstrap_interval(paired.gains, gate.resamples, confidence, gate.seed)
    allowed = margin * abs(float(paired.champion.mean()))
    detail = f"{_means(paired)}: a gain of {_interval(gain)} on {gain.rows:,} rows; its better end may not lie below {-allowed:+.4f}"
    return Finding(name, not gain.upper < -allowed, detail, _numbers(paired, gain))


def headline(candidate: Contender, champion: Contender, metric: str, upwards: bool, gate: GateSpec) -> Finding | None:
    """What the experiment is judged by, where that is no mean over samples (average precision, BLEU): compared as one number."""
    values = [contender.value(gate.split, metric) for contender in (candidate, champion)]
    now, before = values
    if now is None or before is None:
        return None
    gain = now - before if upwards else before - now
    passed = gain >= -gate.margin * abs(before)
    detail = f"{before:.4g} -> {now:.4g}, may be worse by {gate.margin:.1%}; one number, no interval"
    return Finding(metric, passed, detail, {"candidate": now, "champion": before, "gain": gain})


def calibration(candidate: Contender, champion: Contender, gate: GateSpec) -> Finding | None:
    """What the model says of its own certainty must not become less true."""
    now, before = (contender.value(gate.split, _CALIBRATION) for contender in (candidate, champion))
    if now is None or before is None or gate.calibration_margin is None:
        return None
    detail = f"expected calibration error {before:.4f} -> {now:.4f}, may grow by {gate.calibration_margin:g}"
    return Finding("calibration", now <= before + gate.calibration_margin, detail, {"candidate": now, "champion": before})


def budgets(candidate: Contender, champion: Contender | None, gate: GateSpec) -> Iterator[Finding]:
    """Size and latency, where a limit is set."""
    mib = candidate.size_bytes / 2**20
    if gate.max_size_mib is not None:
        yield Finding("size", mib <= gate.max_size_mib, f"{mib:.2f} MiB of weights, at most {gate.max_size_mib:g}", {"mib": mib})
    now = candidate.latency_milliseconds
    if gate.max_latency_milliseconds is not None and now is not None:
        detail = f"{now:.3g} ms for one sample, at most {gate.max_latency_milliseconds:g}"
        yield Finding("latency", now <= gate.max_latency_milliseconds, detail, {"milliseconds": now})
    before = None if champion is None else champion.latency_milliseconds
    if gate.max_slowdown is not None and now is not None and before is not None:
        detail = f"{before:.3g} -> {now:.3g} ms for one sample, at most {gate.max_slowdown:g} times"
        yield Finding("slowdown", now <= gate.max_slowdown * before, detail, {"candidate": now, "champion": before})


def _means(paired: Paired) -> str:
    return f"{paired.champion.mean():.4f} -> {paired.candidate.mean():.4f}"


def _interval(gain: Interval) -> str:
    return f"{gain.mean:+.4f} [{gain.lower:+.4f}, {gain.upper:+.4f}]"


def _numbers(paired: Paired, gain: Interval) -> dict[str, Any]:
    means = {"candidate": float(paired.candidate.mean()), "champion": float(paired.champion.mean())}
    return {**means, "gain": gain.mean, "lower": gain.lower, "upper": gain.upper, "rows": gain.rows}
