"""From a finished run to a decision: judge it, and make it champion where the gate lets it through."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from components.gate.refusals import refusals
from flows.adapters.dvc_versions import held
from flows.in_use import InUse
from flows.predict import rows_of
from flows.project import project_root
from flows.registry.candidate import Candidate
from flows.registry.export import export_candidate
from flows.registry.judging import judge_candidate
from flows.registry.promotion import promote, register
from flows.registry.rival import Incomparable
from flows.registry.telling import Announce, silent, tell
from flows.registry.versions import Registry, Version
from flows.store import Store


@dataclass(frozen=True)
class Decision:
    """What became of a candidate.

    Attributes:
        status: promoted, refused, or unchanged (there is nothing new: it is the champion, or was one and has been replaced).
        verdict: of the gate, as `judge_candidate` returns it; the champion's own where there is nothing new.
        version: that is champion now; None where there is none.
        before: that was champion.
        reasons: why it was refused, or left, or what was overruled when it was promoted all the same.
        rows: of the candidate's data, by split; none where it was not judged.
    """

    status: str
    verdict: dict[str, Any]
    version: Version | None
    before: Version | None
    reasons: list[str]
    rows: dict[str, int] = field(default_factory=dict)


def decide_candidate(store: Store, model: str, candidate: Candidate, because: str | None = None, announce: Announce = silent) -> Decision:
    """Judge a candidate and promote it if it may be. Until that is done nobody removes its stages.

    Args:
        because: promote it whatever the gate says, for this reason; also where it cannot be compared with the champion.
        announce: takes a line for the person who watches.

    Raises:
        UserError, RunError: as judging and promoting do; RunError where the data that it was evaluated on are gone.
    """
    with closing(InUse(store.root, candidate.run_id, {"command": f"promotion of {candidate.run_id}"})) as using:
        using.name(*((manifest.stage, manifest.key) for manifest in candidate.done.values()))
        candidate.require_stages(store)  # somebody may have removed one between the look and the name
        registry = Registry(store)
        champion = registry.champion(model)
        if champion is not None:
            same = champion.checkpoint_sha256 == candidate.checkpoint_sha256
            left = [] if same or because is not None else _replaced(registry, model, candidate)
            if same or left:
                tell(registry, model, announce)
                return Decision("unchanged", champion.record["gate"], champion, champion, left)
        with held(project_root(), store, candidate.done["data"], apart=True) as data:
            candidate = replace(candidate, done={**candidate.done, "data": data})
            return _decide(store, model, candidate, champion, because, using, announce)


def _decide(
    store: Store, model: str, candidate: Candidate, champion: Version | None, because: str | None, using: InUse, announce: Announce
) -> Decision:
    reasons, left_behind = [], _went_back_from(Registry(store), model, candidate)
    try:
        verdict = judge_candidate(store, champion, candidate, using, announce)
    except Incomparable as error:
        if because is None and not left_behind:  # which no night asks anybody about again
            raise
        verdict, reasons = judge_candidate(store, None, candidate, using, announce), [error.what]
    reasons, rows = [*reasons, *refusals(verdict)], rows_of(candidate.done["data"])
    if because is None:
        reasons += left_behind
        if reasons:
            return Decision("refused", verdict, champion, champion, reasons, rows)
    announce(f"promote: exports {candidate.run_id}")
    version = register(store, model, candidate, verdict, export_candidate)
    promote(store, version, champion, because or "the gate was passed", verdict, announce)
    announce(f"promote: {model} version {version.number} is champion")
    return Decision("promoted", verdict, version, champion, reasons, rows)


def _replaced(registry: Registry, model: str, candidate: Candidate) -> list[str]:
    """Say what took the place of a champion with the candidate's weights: the gate lets through what is not worse, and so would let two
    configurations that are asked for in turns, night and weekly search, replace each other for ever."""
    if _went_back_from(registry, model, candidate):
        return []
    for was, by in reversed(list(pairwise(entry.body for entry in registry.history(model)))):
        if was.get("checkpoint_sha256") == candidate.checkpoint_sha256:
            return [
                f"it is version {was['version']}, which was champion before version {by['version']} took its place, and is left there; "
                f"`modelyard promote {candidate.run_id} --model {model} --because ...` makes it champion again"
            ]
    return []


def _went_back_from(registry: Registry, model: str, candidate: Candidate) -> list[str]:
    rejected = registry.rejected(model)
    same = [v.number for v in registry.versions(model) if v.number in rejected and v.checkpoint_sha256 == candidate.checkpoint_sha256]
    return [f"version {number} holds the same weights, and somebody went back from it" for number in same]
