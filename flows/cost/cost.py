"""What one run cost, from the store alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.files import read_object
from components.spec.parse import parse
from components.spec.schema import Spec
from components.training.journal import read
from flows.attempts import Attempt, Kind, held_by, read_attempts
from flows.cost.prices import Prices
from flows.cost.scaling import Scaling, scaling
from flows.cost.spent import ALWAYS, StageCost, TrialCost, Window, place_of, search_cost, stage_cost
from flows.cost.training import JOURNAL, Stretch, stretches
from flows.runs import Run
from flows.store import Store

_SECONDS_OF_AN_HOUR = 3600.0


@dataclass(frozen=True)
class Speed:
    """How a run's training went; null what was not measured.

    Attributes:
        data_wait_share, checkpoint_share: of the training's seconds, 0 to 1, on rank 0.
        ranks: seconds of a step that each rank works before it waits for the others, `{mean, least, greatest, slowest}`; of one worker null.
    """

    device: str | None
    samples_per_second: float | None
    data_wait_share: float | None
    checkpoint_share: float | None
    ranks: dict[str, Any] | None
    scaling: Scaling | None


@dataclass(frozen=True)
class Money:
    """An amount; null where a device has no price, and `why` says so."""

    amount: float | None
    wasted: float | None
    currency: str | None
    why: str = ""


@dataclass(frozen=True)
class Cost:
    """What a run cost over all its attempts, or those of them that lie in a window of time."""

    run_id: str
    experiment: str
    status: str
    stages: tuple[StageCost, ...]
    trials: tuple[TrialCost, ...]
    speed: Speed
    money: Money

    def device_seconds(self, kind: Kind) -> float:
        """GPU-seconds, or seconds of CPU cores: of stages without a GPU."""
        return sum(s.device_seconds for s in self.stages if s.kind == kind)

    def wasted_device_seconds(self, kind: Kind) -> float:
        """Of these, what was done for nothing: given up, failed, or made again."""
        return sum(s.wasted_device_seconds for s in self.stages if s.kind == kind)

    @property
    def stopped_device_seconds(self) -> float:
        """Of trials that a search stopped early: no waste, but the price of not training them to their end."""
        return sum(t.device_seconds for t in self.trials if t.status == "stopped")

    @property
    def untold(self) -> int:
        """Attempts that were killed without a word: what they took is in no sum."""
        return sum(s.untold for s in self.stages)


def cost_of(store: Store, run: Run, prices: Prices | None = None, window: Window = ALWAYS) -> Cost:
    """Add up what a run has cost.

    Args:
        run: of the store; its trials, which are runs as well, are counted with it.
        prices: without them there is no money.
        window: what is counted.
    """
    spec, found, rows = _spec(run), list[StageCost](), list[TrialCost]()
    now = time.time() if run.goes_on else None
    attempts = attempts_of(run, spec)
    for stage in dict.fromkeys(a.stage for a in attempts):
        own, folder = [a for a in attempts if a.stage == stage], store.root / "stages" / stage
        if stage == "tune":
            costs, rows = search_cost(folder, own, window)
            found += costs
            continue
        for kind in dict.fromkeys(a.kind for a in own):  # begun on cores, it may have gone on on a GPU
            alike = [a for a in own if a.kind == kind]
            found.append(stage_cost(folder, alike, window, now if alike[-1] is attempts[-1] else None))
    known = _stretches(store, run)
    gpu = next((s.device for s in reversed(known) if s.device != "cpu"), None)
    return Cost(run.run_id, run.experiment, run.status, tuple(found), tuple(rows), _speed(store, run, spec, known), _money(found, gpu, prices))


def attempts_of(run: Run, spec: Spec | None) -> list[Attempt]:
    """The attempts at a run's stages; of a run of a modelyard that did not write them down, the last at each, as run.json tells."""
    if known := read_attempts(run.directory):
        return known
    try:
        began = datetime.fromisoformat(run.started).timestamp()
    except ValueError:
        return []
    found = []
    for stage, told in run.record.get("stages", {}).items():
        if told["status"] in ("ran", "failed", "interrupted"):
            kind, devices = held_by(stage, spec)
            found.append(Attempt(stage, told["key"], None, began, kind, devices, told["seconds"], told["status"]))
            began += told["seconds"]
    return found


def _spec(run: Run) -> Spec | None:
    """What was run; None where it was of another modelyard."""
    try:
        return parse(Spec, run.record["spec"], "")
    except (UserError, KeyError, TypeError):
        return None


def _training(store: Store, run: Run) -> Path | None:
    """The directory of a run's training, finished or not; None where it has not come so far."""
    key = run.stages.get("train", "")
    return place_of(store.root / "stages" / "train", key) if key else None


def _stretches(store: Store, run: Run) -> list[Stretch]:
    directory = _training(store, run)
    return [] if directory is None else stretches(directory, ended=True)


def _speed(store: Store, run: Run, spec: Spec | None, known: Sequence[Stretch]) -> Speed:
    directory = _training(store, run)
    records = [] if directory is None else read(directory / JOURNAL)
    summary = {} if directory is None else read_object(directory / "summary.json")
    parts = {name: value for name, value in (summary.get("seconds") or {}).items() if name != "total"}
    newest: dict[str, Any] = next((r for r in reversed(records) if "samples_per_second" in r), {})
    busy = sum(parts.values())
    return Speed(
        device=known[-1].device if known else None,
        samples_per_second=summary.get("samples_per_second", newest.get("samples_per_second")),
        data_wait_share=parts["data_wait"] / busy if busy else newest.get("data_wait_share"),
        checkpoint_share=parts["checkpoint"] / busy if busy else None,
        ranks=next((r["rank_step_seconds"] for r in reversed(records) if "rank_step_seconds" in r), None),
        scaling=None if spec is None else scaling(spec, store),
    )


def _money(found: Sequence[StageCost], gpu: str | None, prices: Prices | None) -> Money:
    if prices is None:
        return Money(None, None, None, "there is no price table (conf/prices.yaml)")
    amount = wasted = 0.0
    for stage in found:
        name = "cpu" if stage.kind == "cpu" else gpu
        price = None if name is None else prices.of(name)
        if price is None and stage.device_seconds:
            told = "which GPU it was is not known" if name is None else f"no price for {name} in conf/prices.yaml"
            return Money(None, None, prices.currency, told)
        amount += (price or 0.0) * stage.device_seconds / _SECONDS_OF_AN_HOUR
        wasted += (price or 0.0) * stage.wasted_device_seconds / _SECONDS_OF_AN_HOUR
    return Money(amount, wasted, prices.currency, "at the example prices of conf/prices.yaml" if prices.is_example else "")
