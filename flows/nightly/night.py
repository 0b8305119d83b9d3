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
from flows.cost.prices import Prices, read_prices
from flows.cost.text import plain_night
from flows.nightly.digest import cost_line, digest_markdown, headline
from flows.nightly.outcome import Outcome
from flows.nightly.plan import NightlySpec, chosen, read_plan
from flows.nightly.retrain import Pipeline, retrain
from flows.project import project_root, require_writable
from flows.store import Store

NIGHTS = "nights"


def night(
    models: Sequence[str],
    overrides: Sequence[str],
    reason: str,
    pipeline: Pipeline,
    announce: Callable[[str], None] = lambda line: None,
    *,
    wait: bool = False,
) -> dict[str, Any]:
    """Retrain the models of conf/nightly.yaml, and write the night down, also when it is interrupted: what was promoted until then stays.

    Args:
        models: names from the plan; none: all.
        overrides: over those of each model, such as `tune=asha` once a week.
        reason: why it runs: schedule, drift, by hand.
        pipeline: carries out a run that the store does not hold.
        announce: takes a line for the person who watches.
        wait: until another night on the same store has ended.

    Returns:
        `{started, ended, reason, outcomes, interrupted, cost, path, page}`, as the record holds it. `interrupted`: the model whose turn it was; null.

    Raises:
        UserError: the plan or the price table is not as it must be, or the plan does not know a model.
        RunError: another night is at work on the same store.
    """
    root = project_root()
    plan, prices = read_plan(root), read_prices(root)
    asked = chosen(plan, models)
    store = _store(root, [*plan.overrides, *overrides])
    folder = store.root / NIGHTS
    folder.mkdir(exist_ok=True)
    with _alone(folder, wait, announce):
        started, outcomes = _now(), list[Outcome]()
        try:
            for model, own in asked.items():
                left = _left(store, plan, started, model)
                outcomes.append(left or retrain(model, [*own, *overrides], f"modelyard nightly ({reason})", pipeline, announce))
        except BaseException:
            _write(store, started, reason, outcomes, prices, interrupted=next(iter(list(asked)[len(outcomes) :]), None))
            raise
        return _write(store, started, reason, outcomes, prices)


def _left(store: Store, plan: NightlySpec, started: datetime, model: str) -> Outcome | None:
    """What becomes of a model whose turn comes when the night's budget is spent; None before."""
    if plan.gpu_hours is None or remaining(store, started, plan.gpu_hours):
        return None
    return Outcome(model, "left", reasons=[f"the night's {plan.gpu_hours:g} GPU-hours are spent; the next night goes on"])


def _store(root: Path, overrides: Sequence[str]) -> Store:
    folder = (root / compose(root, [o for o in overrides if o.startswith("store=")]).store).resolve()
    require_writable(folder)
    return Store(folder)


@contextmanager
def _alone(folder: Path, wait: bool, announce: Callable[[str], None]) -> Iterator[None]:
    """Hold a store's nights; the kernel gives them back when this process dies."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise RunError(f"another night is at work on this store ({folder.parent}): nothing was done") from None
        announce("another night is at work on this store: waits for its end")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _write(
    store: Store, started: datetime, reason: str, outcomes: Sequence[Outcome], prices: Prices | None, interrupted: str | None = None
) -> dict[str, Any]:
    from components.reporting.digest import render_digest

    stem = store.root / NIGHTS / f"{started:%Y-%m-%dT%H-%M-%S}.{started.microsecond // 1000:03}Z"  # two nights with nothing new may share a second
    page, path = Path(f"{stem}.html"), Path(f"{stem}.json")
    whole = {
        "started": started.isoformat(timespec="seconds"),
        "ended": _now().isoformat(timespec="seconds"),
        "reason": reason,
        "outcomes": [asdict(outcome) for outcome in outcomes],
        "interrupted": interrupted,
        "cost": plain_night(cost_of_night(store, started, prices)),
        "path": str(path),
        "page": str(page),
    }
    write_text(Path(f"{stem}.md"), digest_markdown(whole))
    render_digest(whole, headline(whole), cost_line(whole), page)
    write_json(path, whole)  # last: a night that is recorded has its digest
    return whole


def failed(found: dict[str, Any]) -> list[str]:
    """Return the models that failed in a night."""
    return [outcome["model"] for outcome in found["outcomes"] if outcome["status"] == "failed"]


def _now() -> datetime:
    return datetime.now(UTC)
