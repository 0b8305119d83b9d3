"""From a finished run to a decision: judge it, and make it champion where the gate lets it through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from components.gate.refusals import refusals
from flows.adapters.dvc_versions import held
from flows.adapters.wandb_mirror import mirror
from flows.project import project_root
from flows.registry.candidate import Candidate
from flows.registry.export import export_candidate
from flows.registry.judging import Judgement, judge_candidate
from flows.registry.promotion import promote, register
from flows.registry.versions import EXPORT, Registry, Version
from flows.store import Store
from flows.tracking import tracking_id


@dataclass(frozen=True)
class Decision:
    """What became of a candidate.

    Attributes:
        status: promoted, refused, or unchanged (it is the champion already).
        version: that is champion now; None where there is none.
        before: that was champion.
        reasons: why it was refused, or was promoted all the same.
    """

    status: str
    judgement: Judgement
    version: Version | None
    before: Version | None
    reasons: list[str]


def decide_candidate(
    store: Store, model: str, candidate: Candidate, because: str | None = None, announce: Callable[[str], None] = lambda line: None
) -> Decision:
    """Judge a candidate and promote it if it may be.

    Args:
        because: promote it whatever the gate says, for this reason.
        announce: takes a line for the person who watches.

    Raises:
        UserError, RunError: as judging and promoting do; RunError where the data that it was evaluated on are gone.
    """
    with held(project_root(), store, candidate.done["data"]) as data:
        return _decide(store, model, replace(candidate, done={**candidate.done, "data": data}), because, announce)


def _decide(store: Store, model: str, candidate: Candidate, because: str | None, announce: Callable[[str], None]) -> Decision:
    judgement = judge_candidate(store, model, candidate, announce)
    before = judgement.champion
    if judgement.same:
        return Decision("unchanged", judgement, before, before, [])
    reasons = refusals(judgement.verdict)
    if because is None:
        reasons += _went_back_from(store, model, candidate)
        if reasons:
            return Decision("refused", judgement, before, before, reasons)
    announce(f"promote: exports {candidate.run_id}")
    version = register(store, model, candidate, judgement.verdict, export_candidate)
    promote(store, version, before, because or "the gate was passed")
    announce(f"promote: {model} version {version.number} is champion")
    if put_off := mirror(candidate.spec.tracking, store.root, _order(version, candidate)):
        announce(f"tracking: {put_off}")
    return Decision("promoted", judgement, version, before, reasons)


def _order(version: Version, candidate: Candidate) -> dict[str, Any]:
    """What W&B is told of a promotion."""
    return {
        "model": version.model,
        "version": version.number,
        "files": sorted(path for path in (version.directory / EXPORT).rglob("*") if path.is_file()),
        "metadata": {"run_id": version.run_id, "data": version.data, "metrics": version.metrics, "gain": version.record["gate"]["gain"]},
        "aliases": ["champion"],
        "tracking_id": tracking_id(candidate.done["train"].key),
        "run_id": version.run_id,
    }


def _went_back_from(store: Store, model: str, candidate: Candidate) -> list[str]:
    registry = Registry(store)
    rejected = registry.rejected(model)
    same = [v.number for v in registry.versions(model) if v.number in rejected and v.checkpoint_sha256 == candidate.checkpoint_sha256]
    return [f"version {number} holds the same weights, and somebody went back from it" for number in same]
