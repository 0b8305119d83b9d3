"""Every experiment of conf/, made small enough to be trained in a second, on data of its own format."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.data.prepare import prepare
from components.files import digest
from components.spec.parse import parse_spec, to_plain
from components.spec.schema import Spec
from components.training.inputs import Inputs
from components.training.session import LocalSession, Session
from components.training.system import build_system
from flows.compose import compose, group_choices
from tests.systems import tiny as tiny_modules

ROOT = Path(__file__).parents[2]
EXPERIMENTS = group_choices(ROOT / "conf", "experiment")
COMMON = (
    "debug=inline",
    "tracking=disabled",
    "schedule=constant",
    "trainer.duration=4st",
    "trainer.log_every_steps=1",
    "trainer.validate_every=4st",
    "trainer.checkpoint_every=2st",
    "trainer.patience=null",
    "trainer.refit=false",
    "watch.every_steps=0",
    "evaluate.max_batches=2",
)


@dataclass(frozen=True)
class Small:
    """An experiment, its tiny prepared data, and the specification that goes with them."""

    experiment: str
    spec: Spec
    data: Path

    def plain(self, **trainer: Any) -> dict[str, Any]:
        """The plain specification, with fields of `trainer` replaced."""
        plain = to_plain(self.spec)
        plain["trainer"] |= trainer
        return plain

    def build(self, seed: int | None = None, session: Session | None = None) -> tuple[Any, Any]:
        """Model and task, with weights of this seed."""
        spec = self.spec if seed is None else replace(self.spec, seed=seed)
        return build_system(spec, self.inputs().dataset.card, session or LocalSession())

    def inputs(self, split: str = "train", session: Session | None = None) -> Inputs:
        return Inputs(self.data, split, self.spec, session or LocalSession())


@functools.cache
def _made_small() -> dict[str, list[str]]:
    """The overrides of all tiny modules, by experiment: which data it uses need not be composed first."""
    modules = (importlib.import_module(f"tests.systems.tiny.{found.name}") for found in pkgutil.iter_modules(tiny_modules.__path__))
    return {experiment: overrides for module in modules for experiment, overrides in getattr(module, "EXPERIMENT", {}).items()}


def make(experiment: str, directory: Path) -> Small:
    """Compose an experiment with the overrides that make it small, and prepare its data's tiny stand-in under `directory`, once."""
    plain = to_plain(compose(ROOT, [f"experiment={experiment}", *COMMON, *_made_small().get(experiment, [])]))
    name = plain["data"]["name"]
    tiny = importlib.import_module(f"tests.systems.tiny.{name}")
    plain["data"]["prepare"] |= getattr(tiny, "PREPARE", {})
    prepared = directory / f"{name}-{digest(plain['data']['prepare'], 8)}"
    if not prepared.is_dir():
        raw = prepared.with_name(f"{prepared.name}-raw")
        raw.mkdir()
        tiny.write(raw)
        prepare(parse_spec(plain).data, raw, prepared)
    spec = parse_spec(plain)
    available = Inputs(prepared, "train", spec, LocalSession()).rows
    plain["trainer"]["batch_size"] = min(plain["trainer"]["batch_size"], 8, available)
    plain["evaluate"]["batch_size"] = min(plain["evaluate"]["batch_size"], 7)
    plain["expect"] = []
    return Small(experiment, parse_spec(plain), prepared)
