"""What can be said of a search before it starts: does every corner of its space compose, does each key change the training, does a trial fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.spec.parse import to_plain
from components.spec.schema import ClusterSpec, MonitorSpec, Spec, TuneSpec
from components.spec.space import parse_space
from flows import stages
from flows.adapters.ray import local_resources
from flows.compose import compose
from flows.search.values import overrides_of, without_search

# Of the metrics whose names leave no doubt, which way is better.
_BETTER: dict[str, tuple[str, ...]] = {
    "max": ("accuracy", "mean_iou", "mean_average_precision_50", "bleu", "elbo"),
    "min": ("loss", "cost", "nll", "nats_per_token", "perplexity", "frechet"),
}
_WORDS = {"max": "more", "min": "less"}
_OTHER_WEIGHTS = ("model", "task", "data", "loss")  # what population-based training cannot vary: a checkpoint of one does not fit another


def preflight(root: Path, spec: Spec, overrides: list[str], announce: Callable[[str], None]) -> None:
    """Refuse a search that would fail in a trial, hours later.

    Args:
        root: the project's folder.
        spec: what is searched.
        overrides: that composed it.
        announce: takes a line for the person who watches.

    Raises:
        UserError: the mode contradicts the metric; a trial does not fit this machine; a key of the space is unknown, a value of it is refused,
            or it changes no training.
    """
    assert spec.tune is not None
    _check_monitor(spec.trainer.monitor)
    if spec.cluster.address is None:  # a running cluster is asked when it is connected to
        trials_at_once(spec.cluster, spec.tune, local_resources(spec.cluster))
    base = _trained(spec)
    moved: dict[str, bool] = {}
    data: set[str] = set()
    for values in _corners(spec):
        composed = compose(root, [*without_search(overrides), *overrides_of(values)])
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


def _check_monitor(monitor: MonitorSpec) -> None:
    name = monitor.metric.rpartition("/")[2]
    better = next((mode for mode, names in _BETTER.items() if name in names), monitor.mode)
    if better != monitor.mode:
        raise UserError(
            f"trainer.monitor.mode contradicts its metric, and the search would look for the worst: of {name}, {_WORDS[better]} is better",
            received=f"{monitor.metric}, mode={monitor.mode}",
            expected=f"trainer.monitor.mode={better}",
        )


def _trained(spec: Spec) -> Any:
    return to_plain(stages.configuration("train", spec)), to_plain(spec.data)


def _corners(spec: Spec) -> Iterator[Mapping[str, Any]]:
    """Every end and choice of every range, one at a time, and whatever a list says."""
    assert spec.tune is not None
    yield from spec.tune.configurations
    for key, span in parse_space(spec.tune.space).items():
        for value in span.values:
            yield {key: value}


def trials_at_once(cluster: ClusterSpec, tune: TuneSpec, available: Mapping[str, float]) -> int:
    """Return how many trials a cluster holds.

    Args:
        cluster: what each worker asks for.
        tune: how many workers a trial has, and how many trials are wanted at once at most.
        available: CPU and GPU of the whole cluster.

    Raises:
        UserError: not one.
    """
    each = {"CPU": tune.workers * cluster.cpus_per_worker, "GPU": tune.workers * cluster.gpus_per_worker}
    holds = min((math.floor(available.get(kind, 0.0) / asked + 1e-9) for kind, asked in each.items() if asked), default=1)
    if holds < 1:
        raise UserError(
            "the cluster cannot hold a single trial",
            received=f"tune.workers={tune.workers} with " + " and ".join(f"{asked / tune.workers:g} {kind}" for kind, asked in each.items() if asked),
            expected="in all at most " + " and ".join(f"{available.get(kind, 0.0):g} {kind}" for kind, asked in each.items() if asked),
            mend="lower tune.workers, cluster.cpus_per_worker or cluster.gpus_per_worker",
        )
    return holds if tune.at_once is None else min(holds, tune.at_once)
