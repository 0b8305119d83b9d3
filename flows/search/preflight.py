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
from flows.search.trial import overrides_of


def preflight(root: Path, spec: Spec, overrides: list[str], announce: Callable[[str], None]) -> None:
    """Refuse a search that would fail in a trial, hours later.

    Raises:
        UserError: a key of the space is unknown, a value of it is refused, or it changes nothing about what is trained.
    """
    assert spec.tune is not None
    base = to_plain(stages.configuration("train", spec)), to_plain(spec.data)
    moved: dict[str, bool] = {}
    for values in _corners(spec):
        composed = compose(root, [*overrides, "tune=null", *overrides_of(values)])
        trained = to_plain(stages.configuration("train", composed)), to_plain(composed.data)
        for key in values:
            moved[key] = moved.get(key, False) or trained != base
        if trained[1] != base[1]:
            announce(f"tune: {', '.join(values)} changes the data: each of its values is a data stage of its own")
    idle = [key for key, changes in moved.items() if not changes]
    if idle:
        raise UserError(
            f"tune.space varies what does not change the training: {', '.join(idle)}",
            expected="keys of model, loss, optimizer, schedule, trainer, augment, parameters, data, seed",
        )


def _corners(spec: Spec) -> Iterator[Mapping[str, Any]]:
    """Every end and choice of every range, one at a time, and whatever a list says."""
    assert spec.tune is not None
    yield from spec.tune.configurations
    for key, span in parse_space(spec.tune.space).items():
        for value in span.values:
            yield {key: value}


def trials_at_once(spec: Spec, available: Mapping[str, float]) -> int:
    """Return how many trials the cluster holds, `tune.at_once` at most.

    Raises:
        UserError: not one.
    """
    assert spec.tune is not None
    holds = min(_fits(spec.cluster, kind, available) for kind in ("CPU", "GPU"))
    if holds < 1:
        each = f"{spec.cluster.workers} workers with {spec.cluster.cpus_per_worker:g} CPU and {spec.cluster.gpus_per_worker:g} GPU each"
        raise UserError(
            "the cluster cannot hold a single trial",
            received=each,
            expected=", ".join(f"at most {amount:g} {kind} in all" for kind, amount in sorted(available.items()) if kind in ("CPU", "GPU")),
            mend="lower cluster.workers, cluster.cpus_per_worker or cluster.gpus_per_worker",
        )
    return holds if spec.tune.at_once is None else min(holds, spec.tune.at_once)


def _fits(cluster: ClusterSpec, kind: str, available: Mapping[str, float]) -> int:
    each = cluster.workers * (cluster.cpus_per_worker if kind == "CPU" else cluster.gpus_per_worker)
    return 1 << 20 if each == 0 else math.floor(available.get(kind, 0.0) / each + 1e-9)


def grid_size(spec: Spec) -> int:
    """Return how many trials a grid or a list makes."""
    assert spec.tune is not None
    if spec.tune.algorithm == "list":
        return len(spec.tune.configurations)
    return math.prod(len(span.grid(spec.tune.grid_points)) for span in parse_space(spec.tune.space).values())
