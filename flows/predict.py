"""How long a stage will take, from what it took in earlier runs: `<store>/last/<experiment>/seconds.json` holds the newest figures of each stage.

One file an experiment, so that a look costs the same however many runs there are. What grows with the work is scaled, what does not (the start
of the workers) is not: a run of 400 epochs takes the training of 4 a hundred times, and one start.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from components.data.card import CARD_NAME
from components.files import read_json
from components.spec.schema import Spec
from components.training.lengths import lengths
from flows.store import Manifest, Store

_NEWEST = 5  # figures that a prediction is made of
_ON_WORKERS = ("train", "evaluate")  # the other stages run in the driver, which has no GPU


@dataclass(frozen=True)
class Figure:
    """What one run of a stage took, and what it did for it."""

    seconds: float
    scaling_seconds: float  # of these, what grows with `samples`
    samples: int  # that it went through
    data: str  # name of the data set
    rows: dict[str, int]  # of its splits
    batch_size: int
    workers: int
    gpus_per_worker: float


@dataclass(frozen=True)
class Prediction:
    """What a stage will take; seconds and GPU-hours are null where it never ran here on this data."""

    seconds: float | None
    gpu_hours: float | None
    runs: int  # that it is told from


def note(store: Store, spec: Spec, manifest: Manifest, data: Manifest) -> None:
    """Remember what a stage took that has just run.

    Args:
        spec: of the run.
        manifest: of the stage.
        data: of the run's data stage.
    """
    rows = rows_of(data)
    seconds, scaling, samples = manifest.seconds, 0.0, planned_samples(manifest.stage, spec, rows)
    if manifest.stage == "evaluate":
        scaling = seconds
    elif manifest.stage == "train":
        summary = manifest.outputs["summary"]
        scaling = sum(part["seconds"]["total"] for part in (summary, summary.get("refit")) if part)
        seconds = max(seconds, scaling)  # the manifest's are the last attempt's alone
        if spec.procedure is None:
            samples = _samples(spec, rows["train"], summary["steps"])
    cluster = spec.cluster
    figure = Figure(seconds, scaling, samples, spec.data.name, rows, spec.trainer.batch_size, cluster.workers, cluster.gpus_per_worker)
    store.note_figures(manifest.stage, spec.experiment, asdict(figure))


def predict(stage: str, spec: Spec, store: Store, rows: Mapping[str, int] | None) -> Prediction:
    """Say what a stage will take, as the median of the newest runs that are most like it.

    Args:
        rows: of the data's splits; None before it is prepared, when those of the earlier runs are taken.
    """
    figures = [f for f in known_figures(stage, spec, store) if f.data == spec.data.name]
    if not figures:
        return Prediction(None, None, 0)
    samples = planned_samples(stage, spec, rows or figures[0].rows)
    like = _most_like(stage, spec, samples, figures)[:_NEWEST]
    seconds = statistics.median(f.seconds - f.scaling_seconds + f.scaling_seconds * samples / f.samples for f in like)
    gpus = spec.cluster.workers * spec.cluster.gpus_per_worker if stage in _ON_WORKERS else 0.0
    return Prediction(round(seconds, 3), seconds / 3600 * gpus, len(like))


def rows_of(data: Manifest) -> dict[str, int]:
    """Return the rows of each split of a finished data stage."""
    return {name: split["rows"] for name, split in read_json(data.directory / CARD_NAME)["splits"].items()}


def planned_samples(stage: str, spec: Spec, rows: Mapping[str, int]) -> int:
    """Return how many samples a stage will go through, patience aside; 1 for a stage whose work is one piece."""
    if stage == "train":
        return _samples(spec, rows["train"], lengths(spec.trainer, rows["train"]).total)
    if stage == "evaluate":
        options = spec.evaluate
        most = None if options.max_batches is None else options.max_batches * options.batch_size
        return max(1, sum(rows.get(s, 0) if most is None else min(rows.get(s, 0), most) for s in options.splits))
    return 1


def _samples(spec: Spec, rows: int, steps: int) -> int:
    """The samples of so many steps, each epoch's last batch being as short as it is."""
    batch_size = spec.trainer.batch_size
    if spec.trainer.overfit_one_batch:
        return steps * min(rows, batch_size)
    an_epoch = max(1, -(-rows // batch_size))
    return steps // an_epoch * rows + steps % an_epoch * batch_size


def known_figures(stage: str, spec: Spec, store: Store) -> list[Figure]:
    """Return what the store remembers of a stage of an experiment, the newest first."""
    try:
        return [Figure(**plain) for plain in store.figures(stage, spec.experiment)]
    except TypeError:  # another version's
        return []


def _most_like(stage: str, spec: Spec, samples: int, figures: list[Figure]) -> list[Figure]:
    """Those of the same batch size (an evaluation: of the same length) on the same workers, else on the same workers, else all."""
    workers = (spec.cluster.workers, spec.cluster.gpus_per_worker)
    alike = [f for f in figures if (f.workers, f.gpus_per_worker) == workers]
    if stage == "evaluate":
        same = [f for f in alike if f.samples == samples]
    else:
        same = [f for f in alike if f.batch_size == spec.trainer.batch_size]
    return same or alike or figures
