"""The champion on the candidate's data: who is compared must have been judged on the same rows, by the same code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from components.data.card import Card, Column, load_card
from components.errors import UserError
from components.files import digest, read_json
from components.spec.parse import parse_spec
from components.spec.schema import Spec
from flows import stages
from flows.attempts import attempted
from flows.in_use import InUse
from flows.registry.candidate import Candidate
from flows.registry.telling import Announce
from flows.registry.versions import EXPORT, Version
from flows.run import scalars
from flows.store import Manifest, Partial, Store
from flows.upstream import checkpoint, job_config
from flows.workers import start_workers


class Incomparable(UserError):
    """A champion that cannot be judged on a candidate's data. Only a person's word can make the candidate champion.

    Args:
        why: "cannot be judged ...".
        found: about the champion.
    """

    def __init__(self, champion: Version, candidate: Candidate, why: str, found: str) -> None:
        command = f"modelyard promote {candidate.run_id} --model {champion.model} --because ..."
        super().__init__(
            f"the champion of {champion.model} {why}",
            received=f"version {champion.number}, {found}",
            mend=f"`{command}` makes the candidate champion without comparing the two",
        )


def evaluate_champion(store: Store, champion: Version, candidate: Candidate, using: InUse, announce: Announce) -> Manifest:
    """Return the champion's evaluation on the candidate's data; from the store where it was judged on them before.

    Args:
        using: names what is used.
        announce: takes a line for the person who watches.

    Raises:
        Incomparable: the champion's training is gone, the code of today does not know what it was made of, or the data are of another form.
    """
    _require_same_form(champion, candidate)
    card = champion.directory / EXPORT
    using.name(*(("train", key) for key in champion.trainings.values()))
    done = _stages(store, champion, candidate) | {"data": candidate.done["data"]}
    spec = replace(_spec(champion, candidate), evaluate=candidate.spec.evaluate, cluster=candidate.spec.cluster)
    parts = stages.key_parts("evaluate", spec, done)
    using.name(("evaluate", digest(parts)))
    found = store.find("evaluate", parts)
    if found is None:
        announce(f"gate: evaluates the champion, version {champion.number}, on the data of {candidate.run_id}")
        with store.run("evaluate", parts, announce) as partial:
            if isinstance(partial, Partial):
                with attempted(candidate.directory(store), "evaluate", digest(parts), partial.ownership.token, spec):
                    _evaluate(store, spec, done, partial, card)
        found = store.find("evaluate", parts)
        assert found is not None, "the champion's evaluation did not commit"
    store.enter(found, experiment=spec.experiment, run_id=candidate.run_id)
    return found


def _require_same_form(champion: Version, candidate: Candidate) -> None:
    """Compare the two data sets that the models were trained on, before the evaluation would fail, or be of other classes than it says."""
    if found := list(_differences(load_card(champion.directory / EXPORT), load_card(candidate.done["data"].directory))):
        why = f"cannot be judged on the candidate's data, which are of another form: {'; '.join(found)}"
        raise Incomparable(champion, candidate, why, f"trained on {champion.data['name']} {champion.data['content_sha256'][:12]}")


def _differences(was: Card, now: Card) -> Iterator[str]:
    """What of the columns is not as it was. Columns that are new do no harm, nor does what only tells slices of the data from each other."""
    from components.gate.slices import is_slicing

    for name, column in was.columns.items():
        found = now.columns.get(name)
        if is_slicing(column) and name != "targets":
            continue
        if found is None:
            yield f"column {name} is gone"
        elif (found.dtype, found.shape, found.ragged) != (column.dtype, column.shape, column.ragged):
            yield f"column {name} was {_form(column)}, is {_form(found)}"
        elif found.classes != column.classes:
            yield f"column {name} {_classes(set(column.classes or ()), set(found.classes or ()))}"


def _form(column: Column) -> str:
    return f"{column.dtype} {column.shape}{' a value' if column.ragged else ''}"


def _classes(was: set[str], now: set[str]) -> str:
    told = [f"{word} {', '.join(sorted(names))}" for word, names in (("gained", now - was), ("lost", was - now)) if names]
    return f"{' and '.join(told)} ({len(was)} classes, now {len(now)})" if told else "has its classes in another order"


def _evaluate(store: Store, spec: Spec, done: dict[str, Manifest], partial: Partial, card: Path) -> None:
    """As it answers in production: the data's rows, but the statistics of the data that it was trained on."""
    config = {**job_config(spec, done), "trained_on": str(card)}
    workers = start_workers(spec.cluster, store.mailboxes)
    try:
        workers.submit("evaluate", {**config, "directory": str(partial.directory), "checkpoint": checkpoint(done["train"])})
        workers.finish()
    finally:
        workers.close()
    partial.outputs = {"metrics": scalars(read_json(partial.directory / "metrics.json"))}


def _stages(store: Store, champion: Version, candidate: Candidate) -> dict[str, Manifest]:
    found = {name: store.read("train", key) for name, key in champion.trainings.items()}
    gone = [name for name, manifest in found.items() if manifest is None]
    if gone:
        raise Incomparable(champion, candidate, "cannot be judged again: its training is gone", f"stages {', '.join(gone)}")
    return {name: manifest for name, manifest in found.items() if manifest is not None}


def _spec(champion: Version, candidate: Candidate) -> Spec:
    try:
        return parse_spec(champion.record["spec"])
    except UserError as error:
        why = f"cannot be judged by the code of today: {error.what}"
        raise Incomparable(champion, candidate, why, f"of {champion.record['created']}") from error
