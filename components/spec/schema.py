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


def within(minimum: float, maximum: float, default: Any) -> Any:
    """A field with inclusive bounds."""
    return field(default=default, metadata={"minimum": minimum, "maximum": maximum})


def length(default: str | None) -> Any:
    """A field that holds a length of training (duration.py)."""
    return field(default=default, metadata={"duration": True})


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
    """What is learned and for how long; everything here can change the weights."""

    duration: str = length("20ep")  # 3ep, 500st
    batch_size: int = at_least(1, 64)  # of one optimizer step, over all workers and micro-batches
    accumulate: int = at_least(1, 1)  # micro-batches that a worker adds up in a step
    order: Literal["shuffled", "contiguous"] = "shuffled"  # contiguous: each place in the batch follows one stream of rows (truncated BPTT)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    clip_norm: float | None = at_least(0.0, None)
    clip_value: float | None = at_least(0.0, None)
    ema_decay: float | None = within(0.0, 1.0, None)  # keep an average of the weights, evaluate with it
    sync_batchnorm: bool = False  # batch statistics over all workers
    validate_every: str = length("1ep")
    checkpoint_every: str = length("1ep")  # beside the one after each validation
    keep_best: int = at_least(1, 1)
    monitor: MonitorSpec = field(default_factory=MonitorSpec)
    patience: str | None = length(None)  # stop after this long without a better monitor
    refit: bool = False  # then train anew on training and validation data together, for the number of steps that was best
    overfit_one_batch: bool = False  # train on the first batch only: a sound model drives its loss near zero
    log_every_steps: int = at_least(1, 20)


@dataclass(frozen=True)
class ParametersSpec:
    """Which parameters learn, and how fast. Patterns are shell patterns of parameter names, `encoder.*`."""

    frozen: tuple[str, ...] = ()
    no_decay: tuple[str, ...] = ()  # `bias` and `norm` name kinds; anything else is a pattern
    layer_decay: float | None = within(0.0, 1.0, None)  # rate of a layer = this ^ (its distance from the last layer)
    rates: dict[str, float] = field(default_factory=dict)  # pattern -> factor of the learning rate


@dataclass(frozen=True)
class PhaseSpec:
    """What one phase of a task has of its own; the rest it shares with the others."""

    optimizer: dict[str, Any] = field(default_factory=dict)  # options over those of `optimizer`
    every_steps: int = at_least(1, 1)


@dataclass(frozen=True)
class PerformanceSpec:
    """How the same training is carried out. Nothing here is meant to change a number by more than rounding."""

    strategy: Literal["ddp", "fsdp"] = "ddp"  # fsdp: weights, gradients and optimizer state are shared out over the workers
    compile: bool = False
    channels_last: bool = False
    deterministic: bool = False  # an operation without a deterministic form is an error
    recompute: tuple[str, ...] = ()  # patterns of modules whose activations are computed again in the backward pass
    prefetch_batches: int = at_least(0, 0)  # fetched ahead by a thread
    loader_workers: int = at_least(0, 0)  # processes that fetch; 0: this one
    loader: Literal["shards", "ray_data"] = "shards"
    profile_steps: int = at_least(0, 0)  # of the torch profiler, after as many of warm-up; 0: none


@dataclass(frozen=True)
class WatchSpec:
    """What looks for faults while training runs (notes 002 section 14)."""

    every_steps: int = at_least(0, 200)  # activations, gradients and updates; 0: never
    finite_every_steps: int = at_least(1, 1)  # is the gradient a number? Each look makes a GPU wait for its host


@dataclass(frozen=True)
class ResumeSpec:
    """Continue another training's checkpoint. A training's own checkpoints are taken up without being asked."""

    checkpoint: str | None = None  # directory
    permit: tuple[Literal["data", "model", "optimizer", "batch_size"], ...] = ()  # what may differ from the checkpoint's


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
    parameters: ParametersSpec = field(default_factory=ParametersSpec)
    phases: dict[str, PhaseSpec] = field(default_factory=dict)
    performance: PerformanceSpec = field(default_factory=PerformanceSpec)
    watch: WatchSpec = field(default_factory=WatchSpec)
    resume: ResumeSpec = field(default_factory=ResumeSpec)
    check: CheckSpec = field(default_factory=CheckSpec)
    evaluate: EvaluateSpec = field(default_factory=EvaluateSpec)
    cluster: ClusterSpec = field(default_factory=ClusterSpec)
    tracking: TrackingSpec = field(default_factory=TrackingSpec)
    store: str = "store"  # directory, relative to the project
    expect: tuple[Expectation, ...] = ()
