"""Scaling efficiency: samples per second on W workers over W times those on one, from what this store has seen of the experiment."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from components.spec.schema import Spec
from flows.predict import Figure, known_figures
from flows.store import Store

_NEWEST = 5


@dataclass(frozen=True)
class Scaling:
    """How W workers compare with one; `efficiency` is null where that is not known, and `why` says so."""

    workers: int
    efficiency: float | None
    why: str


def scaling(spec: Spec, store: Store) -> Scaling:
    """Compare with earlier trainings of the same experiment, data, batch size and devices."""
    cluster = spec.cluster
    alike = [
        f
        for f in known_figures("train", spec, store)
        if (f.data, f.batch_size, f.gpus_per_worker) == (spec.data.name, spec.trainer.batch_size, cluster.gpus_per_worker) and f.scaling_seconds > 0
    ]
    alone, together = _rate([f for f in alike if f.workers == 1]), _rate([f for f in alike if f.workers == cluster.workers])
    if cluster.workers == 1:
        return Scaling(1, None, "one worker")
    if alone is None or together is None:
        return Scaling(cluster.workers, None, f"unknown: never ran on {'one worker' if alone is None else f'{cluster.workers} workers'} here")
    why = f"{together:.4g} samples/s on {cluster.workers} workers, {alone:.4g} on one"
    return Scaling(cluster.workers, together / (cluster.workers * alone), why)


def _rate(found: Sequence[Figure]) -> float | None:
    """Samples per second of training, validation and checkpoints included: the median of the newest."""
    return statistics.median(f.samples / f.scaling_seconds for f in found[:_NEWEST]) if found else None
