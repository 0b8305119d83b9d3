"""May a candidate take the champion's place? All checks together, as plain data that is kept and shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from components.data.dataset import ShardDataset
from components.errors import UserError
from components.gate import findings
from components.gate.contender import Contender
from components.gate.findings import Finding, Paired
from components.gate.rows import FairRows, fair_rows
from components.gate.slices import slices_of
from components.spec.schema import Expectation, GateSpec

Judged = tuple[str, bool]  # a metric's name, and whether more is better
Pairs = dict[str, Paired]


def judge(
    candidate: Contender, champion: Contender | None, data: Path, gate: GateSpec, wishes: Sequence[Expectation], judged_by: Judged
) -> dict[str, Any]:
    """Return `{passed, score, findings: [{name, passed, detail, numbers}], rows, compared_rows, gain}`, plain data.

    Args:
        candidate, champion: evaluated on the same data; without a champion only what the candidate must show by itself is looked at.
        data: the prepared data that both were evaluated on.
        wishes: what is expected of the experiment.
        judged_by: the metric that the experiment is judged by.

    Raises:
        UserError: the gate's split or score is not one of the evaluation.
    """
    judged = ShardDataset(data, gate.split)
    rows = fair_rows(judged, candidate.trained_on, None if champion is None else champion.trained_on)
    found = [findings.leak(rows, gate, champion is not None)]
    found += findings.expectations(candidate, wishes) if gate.expectations else []
    paired = None
    if champion is not None:
        pairs = _pairs(candidate, champion, rows, gate)
        paired = _chosen(pairs, gate)
        found += _against(candidate, champion, pairs, paired, judged, gate, judged_by)
    found += findings.budgets(candidate, champion, gate)
    told = next((f.numbers for f in found if paired is not None and f.name == paired.score), {})
    return {
        "passed": all(finding.passed for finding in found),
        "score": None if paired is None else paired.score,
        "gain": {name: told[name] for name in ("candidate", "champion", "gain", "lower", "upper") if name in told} or None,
        "rows": rows.total,
        "compared_rows": 0 if paired is None else len(paired.rows),
        "findings": [asdict(finding) for finding in found],
    }


def _against(
    candidate: Contender, champion: Contender, pairs: Pairs, paired: Paired, judged: ShardDataset, gate: GateSpec, judged_by: Judged
) -> list[Finding]:
    found: list[Finding | None] = [findings.score(paired, gate)]
    if gate.slices is not None and len(paired.rows):
        found += findings.slices(paired, slices_of(judged), gate)
    if judged_by[0] not in pairs:
        found.append(findings.headline(candidate, champion, *judged_by, gate))
    elif judged_by[0] != paired.score and len(paired.rows):
        found.append(findings.judged(pairs[judged_by[0]], gate))
    found.append(findings.calibration(candidate, champion, gate))
    return [finding for finding in found if finding is not None]


def _pairs(candidate: Contender, champion: Contender, rows: FairRows, gate: GateSpec) -> Pairs:
    """The scores that both have of each sample, by name, on the fair rows that both were evaluated on."""
    first, second = (contender.scores(gate.split) for contender in (candidate, champion))
    names = [name for name in ("accuracy", "loss") if name in first and name in second]
    if not names:
        return {}
    shared = np.intersect1d(np.intersect1d(first["sample_id"], second["sample_id"]), rows.fair)
    mine, theirs = (np.isin(scores["sample_id"], shared) for scores in (first, second))
    return {name: Paired(name, first[name][mine].astype(np.float64), second[name][theirs].astype(np.float64), shared) for name in names}


def _chosen(pairs: Pairs, gate: GateSpec) -> Paired:
    """What the two are compared by before all else."""
    known = list(pairs)
    name = gate.score or (known[0] if known else "")
    if name not in pairs:
        raise UserError(
            f"the gate finds no score to compare on the split '{gate.split}'",
            received=f"gate.score={gate.score}, gate.split={gate.split}",
            expected=f"one of: {', '.join(known)}" if known else "a split among evaluate.splits",
        )
    return pairs[name]
