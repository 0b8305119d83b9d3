"""What each stage depends on, and so its key: its part of the spec, its inputs' hashes, its code, the environment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from components.data.params import own_stamp
from components.files import digest, sha256_file
from components.spec.parse import to_plain
from components.spec.schema import Spec
from components.spec.targets import module_source, names
from flows.code import fingerprint
from flows.project import project_root
from flows.store import Manifest, Store

STAGES = ("data", "check", "train", "evaluate", "report")  # of every run
SEARCHED = ("data", "check", "tune", "train", "evaluate", "report")  # of a run that searches first

_ABSENT = "(absent)"
_TOLD = 3  # changes in one line

_ENTRY_MODULES = {
    "data": ("components.data.stage",),
    "check": ("components.data.checks",),
    "tune": ("components.training.fit",),
    "train": ("components.training.fit",),
    "evaluate": ("components.training.evaluation",),
    "report": ("components.reporting.page",),
}
# Modules that a stage reaches by import but that cannot change its result.
_IRRELEVANT = (
    *("components.errors", "components.files"),
    *("components.spec.schema", "components.spec.parse", "components.spec.space", "components.spec.targets"),
)


@dataclass(frozen=True)
class Decision:
    """What will become of a stage, and why."""

    stage: str
    manifest: Manifest | None  # set: it will be reused
    why: str
    changes: tuple[Change, ...] = ()  # that make it run, where its inputs are there


@dataclass(frozen=True)
class Change:
    """One thing that differs: `config.` and a key of the configuration, `inputs.`, `code.` and a module, `environment.` and a version."""

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key.partition('.')[2]}: {self.before} -> {self.now}"


def environment() -> dict[str, str]:
    """Versions that can change a number."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python, "torch": metadata.version("torch"), "numpy": metadata.version("numpy")}


def order(spec: Spec) -> tuple[str, ...]:
    """Return a run's stages, in the order in which they are done."""
    return STAGES if spec.tune is None else SEARCHED


def key_parts(stage: str, spec: Spec, done: Mapping[str, Manifest]) -> dict[str, Any]:
    """Return the plain data whose hash is the stage's key. `done` holds the manifests of the stages before it, and of `upstream.<name>`."""
    return {
        "stage": stage,
        "config": to_plain(configuration(stage, spec)),
        "inputs": _inputs(stage, spec, done),
        "code": _code(stage, spec),
        "environment": environment(),
    }


def identity(spec: Spec) -> str:
    """Return a hash of everything about a run that is known before it starts: its configuration, code, environment, and the version of data of one's
    own: tomorrow's run on a file that has grown is another run."""
    told = ({"config": to_plain(configuration(s, spec)), "code": _code(s, spec)} for s in order(spec))
    return digest([environment(), *told, *_inputs("data", spec, {}).values()], 10)


def configuration(stage: str, spec: Spec) -> dict[str, Any]:
    """Return the part of a specification that a stage depends on."""
    if stage == "tune":
        # Who carries a search out is no part of it, nor what its checkpoints may take: as with training, where they are not (below).
        search = None if spec.tune is None else replace(spec.tune, workers=1, at_once=None, disk_gib=None)
        return {**configuration("train", spec), "tune": search}
    system = {"model": spec.model, "task": spec.task, "loss": spec.loss, "augment": {"always": spec.augment.always}}
    by_stage: dict[str, dict[str, Any]] = {
        "data": {"data": spec.data},
        "check": {"check": spec.check},
        "train": {
            **system,
            "augment": spec.augment,
            "optimizer": spec.optimizer,
            "schedule": spec.schedule,
            "trainer": spec.trainer,
            "parameters": spec.parameters,
            "phases": spec.phases,
            "procedure": spec.procedure,
            "seed": spec.seed,
            "resume": spec.resume,
            # Who carries the training out is no part of it: not the cluster, not the number of workers, not `performance`. They move the
            # last digits of a float. So what eight GPUs have trained is evaluated on a laptop, and an interrupted run goes on with what is left.
            "validation": {"batch_size": spec.evaluate.batch_size, "max_batches": spec.evaluate.max_batches},
        },
        "evaluate": {**system, "evaluate": spec.evaluate, "seed": spec.seed},  # transforms may draw
        "report": {"experiment": spec.experiment, "expect": spec.expect},
    }
    return by_stage[stage]


def _inputs(stage: str, spec: Spec, done: Mapping[str, Manifest]) -> dict[str, str]:
    if stage == "data":
        return {"path": own_stamp(spec.data, project_root())} if spec.data.fetch.path is not None else {}
    if stage == "report":
        return {name: manifest.key for name, manifest in done.items() if name != "report"}
    inputs = {"data": done["data"].outputs["content_sha256"]}
    if stage in ("tune", "train", "evaluate"):
        inputs |= {f"upstream.{name}": done[f"upstream.{name}"].outputs["checkpoint_sha256"] for name in spec.upstream}
    if stage in ("tune", "train") and spec.resume.checkpoint is not None:
        inputs["resume"] = _checkpoint_digest(Path(spec.resume.checkpoint))
    if stage == "evaluate":
        inputs["checkpoint"] = done["train"].outputs["checkpoint_sha256"]
    return inputs


def _checkpoint_digest(path: Path) -> str:
    """A pointer may have moved on: what it names now is what counts."""
    from components.training.pointer import resolve_pointer

    return sha256_file(resolve_pointer(path) / "meta.json")


def code_digest(spec: Spec) -> str:
    """Return one hash of all code that training reaches."""
    return digest(_code("train", spec))


def _code(stage: str, spec: Spec) -> dict[str, str]:
    procedure = [] if spec.procedure is None else [spec.procedure]
    trained = [spec.model, spec.task, spec.loss, spec.optimizer, spec.schedule, *spec.augment.train, *spec.augment.always, *procedure]
    targets = {
        "data": [spec.data.prepare],
        "tune": trained,
        "train": trained,
        "evaluate": [spec.model, spec.task, spec.loss, *spec.augment.always],
    }.get(stage, [])
    found = _templates() if stage == "report" else {}
    found |= fingerprint([*_ENTRY_MODULES[stage], *(name.rpartition(".")[0] for t in targets for name in names(t))])
    return {m: h for m, h in found.items() if not any(m == name or m.startswith(f"{name}.") for name in _IRRELEVANT)}


def _templates() -> dict[str, str]:
    """The report's page is code too, though not Python."""
    page = module_source("components.reporting.page")
    assert page is not None
    return {f"templates/{p.name}": sha256_file(p)[:16] for p in sorted((page.parent / "templates").iterdir())}


def decide(
    spec: Spec, store: Store, upstream: Mapping[str, Manifest] | None = None, best: Callable[[Manifest], Spec] | None = None
) -> list[Decision]:
    """Say for each stage, in order, whether the store already holds it. A stage after one that must run cannot be known to be reused.

    Args:
        upstream: the train manifests of the upstream runs that are finished (flows/upstream.py).
        best: gives the specification that a finished search found; asked for where `spec` searches.
    """
    done = {f"upstream.{name}": manifest for name, manifest in (upstream or {}).items()}
    absent = [name for name in spec.upstream if f"upstream.{name}" not in done]
    decisions: dict[str, Decision] = {}
    for stage in order(spec):
        if missing := [name for name, d in decisions.items() if d.manifest is None]:
            decisions[stage] = Decision(stage, None, f"after {missing[-1]}")
        elif stage in ("tune", "train") and absent:
            decisions[stage] = Decision(stage, None, f"after upstream {', '.join(absent)}")
        else:
            decisions[stage] = _decide(stage, spec, store, done)
            manifest = decisions[stage].manifest
            if stage == "tune" and manifest is not None and best is not None:
                spec = best(manifest)
                decisions |= {name: _decide(name, spec, store, done) for name in ("data", "check")}  # what was searched may change the data
    return list(decisions.values())


def _decide(stage: str, spec: Spec, store: Store, done: dict[str, Manifest]) -> Decision:
    """Decide one stage whose inputs are there; what is found is added to `done`."""
    parts = key_parts(stage, spec, done)
    manifest = store.find(stage, parts)
    if manifest is not None:
        done[stage] = manifest
    changes = None if manifest else compare(stage, parts, store, spec.experiment)
    return Decision(stage, manifest, "unchanged" if manifest else tell(changes), tuple(changes or ()))


def known_changes(stage: str, spec: Spec, store: Store) -> tuple[Change, ...]:
    """Return what of a stage has changed since it was last done for the experiment, its inputs left out: they may not be there yet."""
    known = {"config": to_plain(configuration(stage, spec)), "code": _code(stage, spec), "environment": environment()}
    changes = compare(stage, known, store, spec.experiment) or []
    return tuple(c for c in changes if c.key.partition(".")[0] in known)


def compare(stage: str, parts: dict[str, Any], store: Store, experiment: str) -> list[Change] | None:
    """Return what differs from the last time that the stage was done for the experiment; None when it never was."""
    before = store.last_parts(stage, experiment)
    if before is None:
        return None
    old, new = flat(before), flat(parts)
    return [Change(k, old.get(k, _ABSENT), new.get(k, _ABSENT)) for k in sorted({*old, *new}, key=_telling) if old.get(k) != new.get(k)]


def tell(changes: list[Change] | None) -> str:
    """Say why a stage has to run."""
    if changes is None:
        return "never ran for this experiment"
    more = f" and {len(changes) - _TOLD} more" if len(changes) > _TOLD else ""
    return "; ".join(str(c) for c in changes[:_TOLD]) + more if changes else "its files were missing or damaged"


def _telling(key: str) -> tuple[bool, int, str]:
    """Sort key: what somebody configured before what follows from it, short names (data.name) before long ones."""
    return not key.startswith("config."), key.count("."), key


def flat(value: Any, prefix: str = "", separator: str = ".") -> dict[str, Any]:
    """Return the leaves of nested plain data under one name each, `trainer.monitor.mode`."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in flat(item, f"{prefix}{key}{separator}", separator).items()}
    if isinstance(value, list):
        return {k: v for i, item in enumerate(value) for k, v in flat(item, f"{prefix}{i}{separator}", separator).items()}
    return {prefix.removesuffix(separator): value}
