"""One look at the data of each model: the champion's training data against the newest version.

The same data version asks for retraining once, and after one request there is a pause: `<store>/drift/<model>.json` holds the requests. Who looks
asks for nothing; `ask` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from components.drift.spec import DriftSpec
from components.errors import in_words
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
        status: unchanged (the champion's data version is the newest), steady (another version, alike), drifted, no champion, unknown (the data
            that it was trained on are gone) or failed (it could not be looked at).
        retrain: retraining should be asked for, now.
        why: of `retrain`, in words; of `failed`, the error.
        requests: the file of what was asked for so far; "" where nothing was compared.
        found: as components.drift.drift.drift returns it; None where nothing was compared.
    """

    model: str
    status: str
    retrain: bool
    why: str
    reference: str = ""
    newest: str = ""
    found: dict[str, Any] | None = field(default=None, repr=False)
    requests: str = ""


def look(models: Sequence[str], overrides: Sequence[str], announce: Callable[[str], None] = lambda line: None) -> list[Look]:
    """Get the newest data of each model of conf/nightly.yaml and compare them with what its champion was trained on.

    What fails of one model is told in its look: the others must have theirs.

    Args:
        models: names from the plan; none: all.
        overrides: over those of each model.
        announce: takes a line for the person who watches.

    Raises:
        UserError: the plan is not as it must be, or does not know a model.
    """
    plan = read_plan(project_root())
    looks = []
    for model, own in chosen(plan, models).items():
        try:
            looks.append(_look(model, [*own, *overrides], plan.drift, plan.drift_pause_hours, announce))
        except Exception as error:
            why = in_words(error)
            announce(f"{model}: failed: {why}")
            looks.append(Look(model, "failed", False, why))
    return looks


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
    return due(run.store, told, pause_hours) if found["drifted"] else told


def due(store: Store, told: Look, pause_hours: float) -> Look:
    """Say whether data that have drifted should ask for retraining: not if they have asked before, nor if the last request is too young."""
    path = store.root / "drift" / f"{told.model}.json"
    asked = _asked(path)
    told = replace(told, requests=str(path))
    if told.newest in asked:
        return replace(told, why="these data have asked for retraining before")
    age_hours = (time.time() - max(asked.values(), default=0.0)) / 3600
    if age_hours < pause_hours:
        return replace(told, why=f"the last request was {age_hours:.1f} h ago, and there is a pause of {pause_hours:g} h")
    return replace(told, retrain=True, why="the data have drifted")


def ask(looks: Sequence[Look], send: Callable[[list[Look]], None]) -> None:
    """Ask for retraining, all models at once, and note it. Killed between the two, it asks again: a night that finds nothing new does nothing.

    Args:
        send: the request; what fails in it leaves nothing noted.
    """
    wanted = [one for one in looks if one.retrain]
    if not wanted:
        return
    send(wanted)
    for one in wanted:
        path = Path(one.requests)
        path.parent.mkdir(exist_ok=True)
        with exclusive(path.parent / ".lock"):
            replace_json(path, {"asked": {**_asked(path), one.newest: time.time()}, "look": asdict(one)})


def _asked(path: Path) -> dict[str, float]:
    """The data versions that have asked so far, and when."""
    found: dict[str, float] = read_object(path).get("asked", {})
    return found


def looks_text(looks: Sequence[Look]) -> str:
    """What was found, for people: a line a model, and what has drifted beneath it."""
    lines = []
    for one in looks:
        lines.append(f"{one.model}: {one.status}; {'RETRAIN: ' if one.retrain else 'no retraining: '}{' '.join(one.why.split())}")
        for feature in (one.found or {}).get("features", []):
            if feature["drifted"]:
                lines.append(f"    {feature['name']}: {feature['measure']} {feature['value']:.3g}, above {feature['threshold']:g}")
    return "\n".join(lines)
