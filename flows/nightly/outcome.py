"""What became of one model in one night, as plain data: the digest is drawn from it, now and later."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# promoted, refused: by the gate. failed: it did not come to a finished run. unchanged: the weights are the champion's, or a replaced champion's.
# left: the night's budget was spent before its turn.
STATUSES = ("promoted", "refused", "failed", "unchanged", "left")


@dataclass(frozen=True)
class Outcome:
    """One model's night.

    Attributes:
        model: its name in the registry.
        status: one of STATUSES.
        trained: something had to be trained; False: the store held the run.
        run_id: the candidate's; "" where it did not even compose.
        reasons: why it was refused or left, or how it failed.
        changes: what differs from the champion: data, configuration, code, environment.
        champion, before: numbers of the versions that are and were champion.
        metric: the one that the experiment is judged by, `split/name`; `value` the candidate's, `before_value` the champion's when it was trained.
        gain: the gate's comparison on the same rows, {candidate, champion, gain, lower, upper}; None where there was none.
        report: path of the run's page.
        seconds: it took, training and gate.
    """

    model: str
    status: str
    trained: bool = False
    run_id: str = ""
    reasons: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    champion: int | None = None
    before: int | None = None
    metric: str = ""
    value: float | None = None
    before_value: float | None = None
    gain: dict[str, Any] | None = None
    report: str = ""
    seconds: float = 0.0
