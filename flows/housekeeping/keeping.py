"""What `modelyard gc` must not touch: the runs that are kept, why, and the stages that they need."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.files import read_object
from components.spec.parse import parse
from components.spec.schema import Spec
from flows.catalogue import best
from flows.compose import compose
from flows.housekeeping.living import Living
from flows.registry.versions import Registry
from flows.runs import Run, champions, read_runs
from flows.store import MANIFEST, Store

StageKey = tuple[str, str]


@dataclass(frozen=True)
class Kept:
    """Runs by id, and stages by (stage, key), each with why it is kept."""

    runs: dict[str, str]
    stages: dict[StageKey, str]


def keeping(root: Path, store: Store, keep: int, living: Living) -> Kept:
    """Decide what is kept: what goes on, is pinned, is a champion, is the last run, or the best or among the newest of its experiment; and the
    trainings of every version of a model.

    Args:
        root: the project's folder, whose conf/ says by what an experiment is judged.
        keep: how many of the newest finished runs of each experiment.
        living: who goes on.
    """
    runs = read_runs(store, living.runs())
    aliases = dict(champions(store))
    why: dict[str, str] = {}
    known = {r.run_id for r in runs}
    reasons: list[tuple[str, set[str]]] = [
        ("running", {r.run_id for r in runs if r.goes_on or r.part_of in {other.run_id for other in runs if other.goes_on}}),
        ("pinned", {r.run_id for r in runs if r.pinned}),
        *((f"champion {name}", {r.run_id for r in runs if is_champion(r, body)}) for name, body in aliases.items()),
        ("the best of its experiment", _best(root, runs)),
        (f"among the newest {keep} of its experiment", _newest(store, runs, keep)),
        ("the last run", {str(read_object(store.root / "last" / "run.json").get("run_id"))}),
        ("begun last of its experiment: the same command goes on with it", _begun(runs)),
    ]
    for reason, found in reasons:
        for run_id in found & known:
            why.setdefault(run_id, reason)
    stages = {needed: f"{r.run_id} is {why[r.run_id]}" for r in runs if r.run_id in why for needed in r.needs}
    used = {stage: f"{run_id} goes on" for stage, run_id in living.users().items()}
    return Kept(why, {**promised_stages(store), **stages, **used})


def is_champion(run: Run, alias: dict[str, Any]) -> bool:
    """Tell whether the body of an alias's entry stands for a run."""
    sha256 = run.record.get("checkpoint_sha256")
    return alias.get("run_id") == run.run_id or (sha256 is not None and alias.get("checkpoint_sha256") == sha256)


def promised_stages(store: Store) -> dict[StageKey, str]:
    """Return the trainings of every version of a model, which a rollback may make champion again and the next candidate is then compared with, and
    those that made an alias's checkpoint; whatever became of the records of their runs."""
    registry = Registry(store)
    versions = [version for model in registry.models() for version in registry.versions(model)]
    found = {("train", key): f"version {version.number} of {version.model}" for version in versions for key in version.trainings.values()}
    return {**found, **_aliased(store, dict(champions(store)))}


def _aliased(store: Store, aliases: dict[str, dict[str, Any]]) -> dict[StageKey, str]:
    names = {body["checkpoint_sha256"]: name for name, body in aliases.items() if body.get("checkpoint_sha256")}
    found: dict[StageKey, str] = {}
    for path in store.root.glob(f"stages/train/*/{MANIFEST}") if names else ():
        sha256 = read_object(path).get("outputs", {}).get("checkpoint_sha256")
        if sha256 in names:
            found["train", path.parent.name] = f"champion {names[sha256]}"
    return found


def _best(root: Path, runs: list[Run]) -> set[str]:
    """The best run of each experiment, as `modelyard list` judges it."""
    found = set()
    for experiment, own in _by_experiment(r for r in runs if r.status == "finished").items():
        spec = _spec(root, experiment) or _as_told(own[-1])
        judged = None if spec is None else best(spec, [r.record for r in own])
        if judged is not None:
            found.add(judged["run_id"])
    return found


@functools.cache
def _spec(root: Path, experiment: str) -> Spec | None:
    """What the experiment's file says; None where there is none any more."""
    try:
        return compose(root, [f"experiment={experiment}"])
    except UserError:
        return None


def _as_told(run: Run) -> Spec | None:
    """What a run was of."""
    try:
        return parse(Spec, run.record["spec"], "")
    except (UserError, KeyError):
        return None


def _newest(store: Store, runs: list[Run], keep: int) -> set[str]:
    """The newest finished runs of each experiment, in the order of the ledger: a clock that was set back does no harm."""
    numbers = {e.body.get("run_id"): e.number for e in store.ledger.entries() if e.kind == "run"}
    found: set[str] = set()
    for own in _by_experiment(r for r in runs if r.status == "finished").values():
        ordered = sorted(own, key=lambda run: numbers.get(run.run_id, 0))
        found |= {run.run_id for run in ordered[len(ordered) - min(keep, len(ordered)) :]}
    return found


def _begun(runs: list[Run]) -> set[str]:
    """The newest run of each experiment where it did not come to its end, with its trials: the next attempt goes on with what is half done."""
    newest = [own[-1] for own in _by_experiment(run for run in runs if run.part_of is None).values()]
    begun = {run.run_id for run in newest if run.status in ("interrupted", "failed")}
    return begun | {run.run_id for run in runs if run.part_of in begun}


def _by_experiment(runs: Iterable[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.experiment, []).append(run)
    return found
