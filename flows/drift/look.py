"""One look at the data of each model: the champion's training data against the newest version.

What was found is written to `<store>/drift/<model>.json`: the same data version asks for retraining once, and after one request there is a pause.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from components.drift.spec import DriftSpec
from components.files import read_object
from flows.adapters.dvc_versions import data_version
from flows.examine import newest_data
from flows.exclusive import exclusive, replace_json
from flows.nightly.plan import chosen, read_plan
from flows.open import open_run
from flows.project import project_root
from flows.registry.versions import Registry
from flows.store import Store


@dataclass(frozen=True)
class Look:
    """What was found of one model.

    Attributes:
        status: unchanged (the champion's data version is the newest), steady (another version, alike), drifted, no champion, or unknown (the data
            that it was trained on are gone).
        retrain: retraining is asked for, now.
        why: of `retrain`, in words.
        found: as components.drift.drift.drift returns it; None where nothing was compared.
    """

    model: str
    status: str
    retrain: bool
    why: str
    reference: str = ""
    newest: str = ""
    found: dict[str, Any] | None = field(default=None, repr=False)


def look(models: Sequence[str], overrides: Sequence[str], announce: Callable[[str], None] = lambda line: None) -> list[Look]:
    """Get the newest data of each model of conf/nightly.yaml and compare them with what its champion was trained on.

    Args:
        models: names from the plan; none: all.
        overrides: over those of each model.
        announce: takes a line for the person who watches.

    Raises:
        UserError: the plan is not as it must be, or does not know a model.
        RunError: the data could not be got.
    """
    plan = read_plan(project_root())
    asked = chosen(plan, models)
    return [_look(model, [*own, *overrides], plan.drift, plan.drift_pause_hours, announce) for model, own in asked.items()]


def _look(model: str, overrides: list[str], options: DriftSpec, pause_hours: float, announce: Callable[[str], None]) -> Look:
    run = open_run(overrides, "modelyard drift", lambda line: announce(f"{model}: {line}"))
    champion = Registry(run.store).champion(model)
    if champion is None:
        return Look(model, "no champion", False, "the first night makes one")
    newest = newest_data(run)
    told = Look(
        model, "unchanged", False, "the champion was trained on the newest data", champion.data["content_sha256"], newest.outputs["content_sha256"]
    )
    if told.reference == told.newest:
        return told
    from components.drift.drift import drift

    with data_version(run.root, champion.data) as reference:
        if reference is None:
            return replace(told, status="unknown", why="the data that the champion was trained on are gone from this machine")
        found = drift(reference, newest.directory, options)
    told = replace(told, status="drifted" if found["drifted"] else "steady", found=found, why="nothing has drifted")
    return ask_once(run.store, told, pause_hours) if found["drifted"] else told


def ask_once(store: Store, told: Look, pause_hours: float) -> Look:
    """Ask for retraining, unless these data have asked before or the last request is too young."""
    path = store.root / "drift" / f"{told.model}.json"
    path.parent.mkdir(exist_ok=True)
    with exclusive(store.root / "drift" / ".lock"):
        before = read_object(path)
        if told.newest in before.get("asked", {}):
            return replace(told, why="these data have asked for retraining before")
        age_hours = (time.time() - max(before.get("asked", {}).values(), default=0.0)) / 3600
        if age_hours < pause_hours:
            return replace(told, why=f"the last request was {age_hours:.1f} h ago, and there is a pause of {pause_hours:g} h")
        replace_json(path, {"asked": {**before.get("asked", {}), told.newest: time.time()}, "look": asdict(told)})
    return replace(told, retrain=True, why="the data have drifted")


def looks_text(looks: Sequence[Look]) -> str:
    """What was found, for people: a line a model, and what has drifted beneath it."""
    lines = []
    for one in looks:
        lines.append(f"{one.model}: {one.status}; {'RETRAIN: ' if one.retrain else 'no retraining: '}{one.why}")
        for feature in (one.found or {}).get("features", []):
            if feature["drifted"]:
                lines.append(f"    {feature['name']}: {feature['measure']} {feature['value']:.3g}, above {feature['threshold']:g}")
    return "\n".join(lines)
