"""The champion on the candidate's data: who is compared must have been judged on the same rows, by the same code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from components.errors import UserError
from components.files import digest, read_json
from components.spec.parse import parse_spec, to_plain
from components.spec.schema import Spec
from flows import stages
from flows.attempts import attempted
from flows.in_use import InUse
from flows.registry.candidate import Candidate
from flows.registry.versions import Version
from flows.run import scalars
from flows.store import Manifest, Partial, Store
from flows.upstream import checkpoint
from flows.workers import start_workers


def evaluate_champion(store: Store, champion: Version, candidate: Candidate, announce: Callable[[str], None]) -> Manifest:
    """Return the champion's evaluation on the candidate's data; from the store where it was judged on them before.

    Raises:
        UserError: the champion's stages are gone, or the configuration does not know what it was made of any more.
    """
    done = {name: manifest for name, manifest in _stages(store, champion).items() if name != "data"} | {"data": candidate.done["data"]}
    spec = replace(_spec(champion), evaluate=candidate.spec.evaluate, cluster=candidate.spec.cluster)
    parts = stages.key_parts("evaluate", spec, done)
    using = InUse(store.root, candidate.run_id, {"command": f"gate of {candidate.run_id}"})
    try:
        using.name(("evaluate", digest(parts)), ("train", done["train"].key))
        found = store.find("evaluate", parts)
        if found is None:
            announce(f"gate: evaluates the champion, version {champion.number}, on the data of {candidate.run_id}")
            with store.run("evaluate", parts, announce) as partial:
                if isinstance(partial, Partial):
                    with attempted(candidate.directory(store), "evaluate", digest(parts), partial.ownership.token, spec):
                        _evaluate(store, spec, done, partial)
            found = store.find("evaluate", parts)
            assert found is not None, "the champion's evaluation did not commit"
        store.enter(found, experiment=spec.experiment, run_id=candidate.run_id)
    finally:
        using.close()
    return found


def _evaluate(store: Store, spec: Spec, done: dict[str, Manifest], partial: Partial) -> None:
    upstream = {name.removeprefix("upstream."): checkpoint(manifest) for name, manifest in done.items() if name.startswith("upstream.")}
    data = done["data"]
    named = {"data": str(data.directory), "content_sha256": data.outputs["content_sha256"]}
    config: dict[str, Any] = {"spec": to_plain(spec), **named, "upstream": upstream}
    workers = start_workers(spec.cluster, store.mailboxes)
    try:
        workers.submit("evaluate", {**config, "directory": str(partial.directory), "checkpoint": checkpoint(done["train"])})
        workers.finish()
    finally:
        workers.close()
    partial.outputs = {"metrics": scalars(read_json(partial.directory / "metrics.json"))}


def _stages(store: Store, champion: Version) -> dict[str, Manifest]:
    wanted = {name: key for name, key in champion.stages.items() if name == "train" or name.startswith("upstream.")}
    found = {name: store.read("train", key) for name, key in wanted.items()}
    gone = [name for name, manifest in found.items() if manifest is None]
    if gone:
        raise UserError(
            f"the champion of {champion.model} cannot be judged again: its training is gone",
            received=f"version {champion.number}, stages {', '.join(gone)}",
            mend="`modelyard promote RUN --because ...` makes another run champion without comparing the two",
        )
    return {name: manifest for name, manifest in found.items() if manifest is not None}


def _spec(champion: Version) -> Spec:
    try:
        return parse_spec(champion.record["spec"])
    except UserError as error:
        raise UserError(
            f"the champion of {champion.model} cannot be judged by the code of today: {error.what}",
            received=f"version {champion.number}, of {champion.record['created']}",
            mend="`modelyard promote RUN --because ...` makes another run champion without comparing the two",
        ) from error
