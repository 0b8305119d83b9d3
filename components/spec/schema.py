"""The shape of a specification, group by group. A field's comment is what `modelyard plan` users read.

Only plain, immutable data: a Spec travels to workers as the JSON that `to_plain` gives and comes back through `parse_spec`.
Bounds are metadata of the field, checked by parse.py, so that a message can name the dotted path.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


def at_least(minimum: float, default: Any = ...) -> Any:
    """A field with an inclusive lower bound; without a default it is required."""
    metadata = {"minimum": minimum}
    return field(metadata=metadata) if default is ... else field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Target:
    """Something to build: a dotted name under an allowed package, and keyword options (see targets.py)."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FetchSpec:
    """Where raw files come from. `archives` are what the origin serves, `mirror` what the mirror folder holds, `files` the unpacked content."""

    files: dict[str, str]  # unpacked name -> sha256; this, not the route, is the data version
    archives: dict[str, str]  # name -> "md5:..." or "sha256:..."
    base_url: str | None = None  # of the origin; archives' names are appended
    package: str | None = None  # an installed Python package that ships the archives, instead of an origin
    mirror: dict[str, str] = field(default_factory=dict)  # empty: the mirror holds the same archives as the origin


@dataclass(frozen=True)
class DataSpec:
    name: str
    title: str
    licence: str
    homepage: str
    fetch: FetchSpec
    prepare: Target  # reader: raw directory -> columns of each split
    num_classes: int | None = at_least(2, None)
    shard_mib: int = at_least(1, 64)


@dataclass(frozen=True)
class AugmentSpec:
    always: tuple[Target, ...] = ()  # transforms of training and evaluation
    train: tuple[Target, ...] = ()  # transforms of training only, before `always`


@dataclass(frozen=True)
class MonitorSpec:
    metric: str = "validation/accuracy"
    mode: Literal["max", "min"] = "max"


@dataclass(frozen=True)
class TrainerSpec:
    epochs: int = at_least(1, 20)
    max_steps: int | None = at_least(1, None)  # ends the run early, whatever `epochs` says
    batch_size: int = at_least(1, 64)  # over all workers
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    clip_norm: float | None = at_least(0.0, None)
    monitor: MonitorSpec = field(default_factory=MonitorSpec)
    patience_epochs: int | None = at_least(1, None)  # stop after this many epochs without a better monitor
    overfit_one_batch: bool = False  # train on the first batch only: a sound model drives its loss near zero
    log_every_steps: int = at_least(1, 20)


@dataclass(frozen=True)
class CheckSpec:
    min_rows: int = at_least(1, 10)  # in each split
    max_imbalance: float = at_least(1.0, 10.0)  # most frequent class : least frequent class, training split
    max_leak_fraction: float = at_least(0.0, 0.0)  # of a split's rows, how many may also stand in another split
    max_constant_fraction: float = at_least(0.0, 0.01)  # of a split's images, how many may have one value in all pixels
    sheet_rows: int = at_least(1, 6)
    sheet_columns: int = at_least(1, 10)


@dataclass(frozen=True)
class EvaluateSpec:
    splits: tuple[Literal["train", "validation", "test"], ...] = ("validation", "test")
    batch_size: int = at_least(1, 256)
    max_batches: int | None = at_least(1, None)


@dataclass(frozen=True)
class ClusterSpec:
    backend: Literal["inline", "ray"] = "ray"
    address: str | None = None  # of a running Ray cluster; null starts one here and stops it afterwards
    workers: int = at_least(1, 1)
    cpus_per_worker: float = at_least(0.01, 1.0)
    gpus_per_worker: float = at_least(0.0, 0.0)
    start_timeout_seconds: float = at_least(1.0, 300.0)
    max_failures: int = at_least(0, 1)  # restarts of the worker group; each resumes from the last checkpoint
    dashboard_port: int | None = at_least(1, None)  # null: no dashboard


@dataclass(frozen=True)
class TrackingSpec:
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"  # auto: online where WANDB_API_KEY is set
    project: str = "modelyard"
    entity: str | None = None
    finish_timeout_seconds: float = at_least(0.0, 20.0)


@dataclass(frozen=True)
class Expectation:
    metric: str
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class Spec:
    experiment: str
    data: DataSpec
    model: Target
    task: Target
    loss: Target
    optimizer: Target
    schedule: Target
    description: str = ""
    source: str = ""  # where the system is described: "002 M24"
    seed: int = at_least(0, 0)
    augment: AugmentSpec = field(default_factory=AugmentSpec)
    trainer: TrainerSpec = field(default_factory=TrainerSpec)
    check: CheckSpec = field(default_factory=CheckSpec)
    evaluate: EvaluateSpec = field(default_factory=EvaluateSpec)
    cluster: ClusterSpec = field(default_factory=ClusterSpec)
    tracking: TrackingSpec = field(default_factory=TrackingSpec)
    store: str = "store"  # directory, relative to the project
    expect: tuple[Expectation, ...] = ()
