"""What can be said of a search before anything starts: does every corner of its space compose, does each key change the training, does a trial fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.spec.parse import to_plain
from components.spec.schema import ClusterSpec, Spec
from components.spec.space import parse_space
from flows import stages
from flows.compose import compose
from flows.search.values import overrides_of

_OTHER_WEIGHTS = ("model", "task", "data", "loss")  # what population-based training cannot vary: a checkpoint of one does not fit another


def preflight(root: Path, spec: Spec, overrides: list[str], announce: Callable[[str], None]) -> None:
    """Refuse a search that would fail in a trial, hours later.

    Args:
        root: the project's folder.
        spec: what is searched.
        overrides: that composed it.
        announce: takes a line for the person who watches.

    Raises:
        UserError: a key of the space is unknown, a value of it is refused, or it changes nothing about what is trained.
    """
    assert spec.tune is not None
    base = _trained(spec)
    moved: dict[str, bool] = {}
    data: set[str] = set()
    for values in _corners(spec):
        composed = compose(root, [*overrides, "tune=null", *overrides_of(values)])
        for key in values:
            moved[key] = moved.get(key, False) or _trained(composed) != base
        if composed.data != spec.data:
            data |= set(values)
    if idle := [key for key, changes in moved.items() if not changes]:
        raise UserError(
            f"tune.space varies what does not change the training: {', '.join(idle)}",
            expected="keys of model, loss, optimizer, schedule, trainer, augment, parameters, data, seed",
        )
    if spec.tune.algorithm == "pbt" and (fixed := [key for key in moved if key.partition(".")[0] in _OTHER_WEIGHTS]):
        raise UserError(
            "tune.algorithm=pbt hands weights on from one trial to another",
            received=f"a space over {', '.join(fixed)}",
            expected="keys that leave the weights' shapes alone: optimizer, trainer, augment",
            mend="choose another algorithm",
        )
    for key in sorted(data):
        announce(f"tune: {key} changes the data: each of its values is a data stage of its own")


def _trained(spec: Spec) -> Any:
    return to_plain(stages.configuration("train", spec)), to_plain(spec.data)


def _corners(spec: Spec) -> Iterator[Mapping[str, Any]]:
    """Every end and choice of every range, one at a time, and whatever a list says."""
    assert spec.tune is not None
    yield from spec.tune.configurations
    for key, span in parse_space(spec.tune.space).items():
        for value in span.values:
            yield {key: value}


def trials_at_once(cluster: ClusterSpec, most: int | None, available: Mapping[str, float]) -> int:
    """Return how many trials a cluster holds.

    Args:
        cluster: what each trial asks for.
        most: not more than these.
        available: CPU and GPU of the whole cluster.

    Raises:
        UserError: not one.
    """
    holds = min(_fits(cluster, kind, available) for kind in ("CPU", "GPU"))
    if holds < 1:
        each = f"{cluster.workers} worker{'s' if cluster.workers > 1 else ''} with {cluster.cpus_per_worker:g} CPU"
        raise UserError(
            "the cluster cannot hold a single trial",
            received=f"{each} and {cluster.gpus_per_worker:g} GPU each" if cluster.gpus_per_worker else f"{each} each",
            expected=", ".join(f"at most {available.get(kind, 0.0):g} {kind} in all" for kind in ("CPU", "GPU")),
            mend="lower cluster.workers, cluster.cpus_per_worker or cluster.gpus_per_worker",
        )
    return holds if most is None else min(holds, most)


def _fits(cluster: ClusterSpec, kind: str, available: Mapping[str, float]) -> int:
    each = cluster.workers * (cluster.cpus_per_worker if kind == "CPU" else cluster.gpus_per_worker)
    return 1 << 20 if each == 0 else math.floor(available.get(kind, 0.0) / each + 1e-9)
