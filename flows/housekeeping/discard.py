"""`modelyard runs rm`: one run, and the stages that no other run needs."""

from __future__ import annotations

from typing import Any

from components.errors import UserError
from flows.exclusive import exclusive
from flows.housekeeping.keeping import Kept, is_champion, promised_stages
from flows.housekeeping.living import Living
from flows.housekeeping.removal import Item, Remover, delete, put_aside, tree_bytes
from flows.in_use import RUNNING, present_runs
from flows.runs import Run, champions, read_run, read_runs
from flows.store import Store
from flows.units import spell_bytes

_MEND = "interrupt it first; where its machine is gone, `modelyard gc --yes` clears what it left"


def remove_run(store: Store, word: str) -> dict[str, Any]:
    """Remove the run whose id begins with a word.

    Returns:
        `run_id`, `freed` bytes, `removed` paths, `left` [{path, why}].

    Raises:
        UserError: there is no such run, or it goes on, is pinned or is a champion.
    """
    run = read_run(store, word)
    _require_free(run, dict(champions(store)))
    with exclusive(store.root / RUNNING / ".lock"):
        if run.run_id in present_runs(store.root):
            raise _refusal(run, "it goes on", _MEND)
        store.ledger.append("run_removed", {"run_id": run.run_id, "stages": run.stages})
        aside = put_aside(run.directory)
    freed = tree_bytes(aside)
    delete(aside)
    remover = Remover(store, Living(store.root), lambda: _needed_by_others(store, run))
    gone, left = remover.remove(_items(store, run))
    return {
        "run_id": run.run_id,
        "freed": freed + sum(item.bytes for item in gone),
        "removed": [str(item.path.relative_to(store.root)) for item in gone],
        "left": [{"path": str(item.path.relative_to(store.root)), "why": why} for item, why in left],
    }


def _require_free(run: Run, aliases: dict[str, dict[str, Any]]) -> None:
    if run.goes_on:
        raise _refusal(run, "it goes on", _MEND)
    if run.pinned:
        raise _refusal(run, "it is pinned", f"`modelyard runs unpin {run.run_id}` first")
    named = [name for name, body in aliases.items() if is_champion(run, body)]
    if named:
        raise _refusal(run, f"it is a champion: {', '.join(named)}", "promote another run first")


def _refusal(run: Run, why: str, mend: str) -> UserError:
    return UserError(f"the run is not removed: {why}", received=run.run_id, mend=mend)


def _needed_by_others(store: Store, run: Run) -> Kept:
    needed = {stage: f"{other.run_id} needs it too" for other in read_runs(store) if other.run_id != run.run_id for stage in other.needs}
    return Kept({}, {**needed, **promised_stages(store)})


def _items(store: Store, run: Run) -> list[Item]:
    folders = [(stage, store.root / "stages" / stage[0] / f"{stage[1]}{suffix}") for stage in sorted(run.needs) for suffix in ("", ".partial")]
    kinds = {"": "stage", ".partial": "partial"}
    return [Item(kinds[path.suffix], path, tree_bytes(path), "of this run", stage) for stage, path in folders if path.is_dir()]


def discard_text(found: dict[str, Any]) -> str:
    """What was removed, for people."""
    lines = [f"removed {found['run_id']}: freed {spell_bytes(found['freed'])}", *(f"  {path}" for path in found["removed"])]
    return "\n".join([*lines, *(f"  left {left['path']}: {left['why']}" for left in found["left"])])
