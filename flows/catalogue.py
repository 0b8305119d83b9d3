"""`modelyard list`: every experiment file, and the best result that this store holds of it. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.files import read_object
from components.spec.parse import expectation_met
from components.spec.schema import Expectation, Spec
from flows.compose import compose, group_choices
from flows.project import project_root
from flows.store import Store


def catalogue() -> list[dict[str, Any]]:
    """Return one row an experiment: family, system, data, state, source item, description, `expected` and `best` (or null).

    A file that does not compose has its complaint for a description.
    """
    root = project_root()
    return [_row(root, name) for name in group_choices(root / "conf", "experiment")]


def _row(root: Path, name: str) -> dict[str, Any]:
    family, _, system = name.partition("/")
    try:
        spec = compose(root, [f"experiment={name}"])
    except UserError as error:
        told = f"does not compose: {error.what}"
        return {"experiment": name, "family": family, "system": system, "description": told, "data": "", "state": "", "source": ""} | _NOTHING
    wish = spec.expect[0] if spec.expect else None
    return {
        "experiment": name,
        "family": family,
        "system": system,
        "data": spec.data.name,
        "state": spec.state,
        "source": spec.source,
        "description": spec.description,
        "expected": None if wish is None else _bound(wish),
        "best": best(spec, _records(spec, Store((root / spec.store).resolve()))),
    }


_NOTHING = {"expected": None, "best": None}


def _bound(wish: Expectation) -> str:
    return f"{wish.metric} >= {wish.minimum:g}" if wish.minimum is not None else f"{wish.metric} <= {wish.maximum:g}"


def judged_by(spec: Spec) -> tuple[str, bool]:
    """Return the metric that runs are judged by, and whether more is better: what is expected of them first, else what they monitor."""
    if spec.expect:
        return spec.expect[0].metric, spec.expect[0].minimum is not None
    return spec.trainer.monitor.metric, spec.trainer.monitor.mode == "max"


def best(spec: Spec, records: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the best finished run on the experiment's own data, `{metric, value, run_id, met, runs}`, or None.

    Args:
        spec: of the experiment.
        records: what run.json says of runs, of other experiments too.
    """
    wish = spec.expect[0] if spec.expect else None
    metric, upwards = judged_by(spec)
    split, _, name = metric.partition("/")
    found = [(r["metrics"][split][name], r["run_id"], r["metrics"]) for r in _fitting(spec, records) if name in r["metrics"].get(split, {})]
    if not found:
        return None
    value, run_id, metrics = (max if upwards else min)(found, key=lambda entry: entry[0])
    return {"metric": metric, "value": value, "run_id": run_id, "met": None if wish is None else expectation_met(wish, metrics), "runs": len(found)}


def _records(spec: Spec, store: Store) -> Iterator[dict[str, Any]]:
    return (read_object(path) for path in sorted(store.root.glob(f"runs/{spec.experiment.replace('/', '-')}-*/run.json")))


def _fitting(spec: Spec, records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The experiment's finished runs on its own data set, shortened ones (with no expectation) left out."""
    for record in records:
        same = record.get("experiment") == spec.experiment and record["spec"]["data"]["name"] == spec.data.name
        if same and record["status"] == "finished" and bool(record["spec"]["expect"]) == bool(spec.expect):
            yield {"metrics": {}, **record}


def catalogue_text(rows: list[dict[str, Any]]) -> str:
    """The catalogue for people: one block a family, a line a system."""
    width, data = (max(len(row[key]) for row in rows) for key in ("system", "data"))
    lines: list[str] = []
    for i, row in enumerate(rows):
        if i == 0 or row["family"] != rows[i - 1]["family"]:
            lines += ["" if i else None, row["family"]]  # type: ignore[list-item]
        lines.append(f"  {row['system']:<{width}}  {row['data']:<{data}}  {row['state']:<7}  {row['description']}  [{row['source']}]")
        lines.append(f"  {'':<{width}}  {'':<{data}}  {'':<7}  {_result(row)}")
    return "\n".join(line for line in lines if line is not None)


def _result(row: dict[str, Any]) -> str:
    expected, best = row["expected"], row["best"]
    wish = f"expected {expected}" if expected else "nothing expected"
    if best is None:
        return f"{wish}; not run in this store"
    verdict = {True: ", met", False: ", MISSED", None: ""}[best["met"]]
    return f"{wish}; best of {best['runs']}: {best['value']:.4g}{verdict} ({best['run_id']})"
