"""One night over all models: one at a time on a store, the record of it, and the digest beside it: `<store>/nights/<when>.{json,md,html}`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from components.errors import RunError
from components.files import write_json, write_text
from flows.compose import compose
from flows.cost.night import night as cost_of_night
from flows.cost.night import remaining
from flows.cost.prices import read_prices
from flows.cost.text import plain_night
from flows.nightly.digest import digest_markdown
from flows.nightly.outcome import Outcome
from flows.nightly.plan import chosen, read_plan
from flows.nightly.retrain import Pipeline, retrain
from flows.project import project_root, require_writable
from flows.store import Store

NIGHTS = "nights"


def night(
    models: Sequence[str], overrides: Sequence[str], reason: str, pipeline: Pipeline, announce: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Retrain the models of conf/nightly.yaml, and write the night down.

    Args:
        models: names from the plan; none: all.
        overrides: over those of each model, such as `tune=asha` once a week.
        reason: why it runs: schedule, drift, by hand.
        pipeline: carries out a run that the store does not hold.
        announce: takes a line for the person who watches.

    Returns:
        `{started, ended, reason, outcomes, cost, path, page}`, as the record holds it.

    Raises:
        UserError: the plan is not as it must be, or does not know a model.
        RunError: another night is at work on the same store.
    """
    root = project_root()
    plan = read_plan(root)
    asked = chosen(plan, models)
    store = _store(root, overrides)
    folder = store.root / NIGHTS
    folder.mkdir(exist_ok=True)
    with _alone(folder):
        started = _now()
        command = f"modelyard nightly ({reason})"
        outcomes = []
        for model, own in asked.items():
            if plan.gpu_hours is not None and not remaining(store, started, plan.gpu_hours):
                told = f"the night's {plan.gpu_hours:g} GPU-hours are spent; the next night goes on"
                outcomes.append(Outcome(model, "left", reasons=[told]))
                continue
            outcomes.append(retrain(model, [*own, *overrides], command, pipeline, announce))
        found = {
            "started": started.isoformat(timespec="seconds"),
            "ended": _now().isoformat(timespec="seconds"),
            "reason": reason,
            "outcomes": [asdict(outcome) for outcome in outcomes],
            "cost": plain_night(cost_of_night(store, started, read_prices(root))),
        }
        return _write(folder / started.strftime("%Y-%m-%dT%H-%M-%SZ"), found)


def _store(root: Path, overrides: Sequence[str]) -> Store:
    folder = (root / compose(root, [o for o in overrides if o.startswith("store=")]).store).resolve()
    require_writable(folder)
    return Store(folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a store's nights; the kernel gives them back when this process dies."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(f"another night is at work on this store ({folder.parent}): nothing was done") from None
    try:
        yield
    finally:
        lock.release()


def _write(stem: Path, found: dict[str, Any]) -> dict[str, Any]:
    from components.reporting.digest import render_digest

    page, path = Path(f"{stem}.html"), Path(f"{stem}.json")
    whole = {**found, "path": str(path), "page": str(page)}
    write_text(Path(f"{stem}.md"), digest_markdown(whole))
    render_digest(whole, page)
    write_json(path, whole)  # last: a night that is recorded has its digest
    return whole


def failed(found: dict[str, Any]) -> list[str]:
    """Return the models that failed in a night."""
    return [outcome["model"] for outcome in found["outcomes"] if outcome["status"] == "failed"]


def _now() -> datetime:
    return datetime.now(UTC)
