"""One model's night: the newest data, training if anything changed, the gate, the registry."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from components.errors import UserError, in_words
from flows import stages
from flows.catalogue import judged_by
from flows.nightly.outcome import Outcome
from flows.open import open_run
from flows.registry.candidate import Candidate, candidate_of
from flows.registry.decide import Decision, decide_candidate
from flows.registry.versions import Version
from flows.run import PipelineRun
from flows.store import Manifest, Store

Pipeline = Callable[[PipelineRun], Any]  # carries an opened run out
_TOLD = 8  # changes of code and configuration; the rest is counted


def retrain(model: str, overrides: list[str], command: str, pipeline: Pipeline, announce: Callable[[str], None]) -> Outcome:
    """Train a model on the newest data if anything changed, judge it, and promote it if it may be.

    What fails is told in the outcome: the other models of the night must have theirs. An interrupt is raised on.

    Args:
        model: its name in the registry.
        overrides: of its run.
        command: how the night was asked for, for the record.
        pipeline: carries out a run that the store does not hold.
        announce: takes a line for the person who watches.
    """
    started, run = time.monotonic(), None
    try:
        run = open_run(overrides, command, lambda line: announce(f"{model}: {line}"))
        _refuse_several(run)
        if not run.reuse_all():
            announce(f"{model}: {run.run_id}")
            pipeline(run)
        candidate = candidate_of(run.store, run.run_id)
        candidate = replace(candidate, spec=replace(candidate.spec, gate=run.spec.gate))  # the plan's of today: the run may be an older one
        decision = decide_candidate(run.store, model, candidate, announce=lambda line: announce(f"{model}: {line}"))
        announce(f"{model}: {decision.status}")
        return _outcome(model, run, candidate, decision, time.monotonic() - started)
    except Exception as error:
        announce(f"{model}: failed: {error}")
        return Outcome(
            model, "failed", _trained(run), "" if run is None else run.run_id, reasons=[in_words(error)], seconds=time.monotonic() - started
        )


def _trained(run: PipelineRun | None) -> bool:
    """Whether its training was begun in this night."""
    return run is not None and "train" in run.results and run.results["train"].status != "reused"


def _refuse_several(run: PipelineRun) -> None:
    if run.spec.folds is not None:
        raise UserError("folds have no champion", received=f"folds={run.spec.folds}", mend="retrain one run, with folds=null")


def _outcome(model: str, run: PipelineRun, candidate: Candidate, decision: Decision, seconds: float) -> Outcome:
    metric, _ = judged_by(candidate.spec)
    split, _, name = metric.partition("/")
    before = decision.before
    return Outcome(
        model=model,
        status=decision.status,
        trained=_trained(run),
        run_id=candidate.run_id,
        reasons=decision.reasons,
        changes=[] if decision.status == "unchanged" else changes(run.store, candidate, before, decision.rows),
        champion=None if decision.version is None else decision.version.number,
        before=None if before is None else before.number,
        metric=metric,
        value=candidate.record["metrics"].get(split, {}).get(name),
        before_value=None if before is None else before.metrics.get(split, {}).get(name),
        gain=decision.verdict["gain"],
        report=run.report,
        seconds=seconds,
    )


def changes(store: Store, candidate: Candidate, champion: Version | None, rows: Mapping[str, int]) -> list[str]:
    """Say what differs between two trainings: data first, then configuration, code and environment.

    Args:
        rows: of the candidate's data, by split: data/prepared may hold newer ones by now.
    """
    if champion is None:
        return ["it is the first"]
    old_train = store.read("train", champion.stages["train"])
    if old_train is None:
        return ["the champion's training is not in the store any more"]
    told = _data_changes(candidate.done["data"], champion, rows["train"])
    old, new = stages.flat(old_train.parts), stages.flat(candidate.done["train"].parts)
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key) and not key.startswith("inputs.data")]
    found = [str(stages.Change(key, old.get(key, "(absent)"), new.get(key, "(absent)"))) for key in keys]
    return told + found[:_TOLD] + ([f"{len(found) - _TOLD} more"] if len(found) > _TOLD else [])


def _data_changes(new: Manifest, champion: Version, train_rows: int) -> list[str]:
    before, now = champion.data["content_sha256"], new.outputs["content_sha256"]
    if before == now:
        return []
    rows = f"{champion.record['rows']['train']:,} -> {train_rows:,} training rows"
    return [f"data {champion.data['name']}: {before[:12]} -> {now[:12]}, {rows}"]
