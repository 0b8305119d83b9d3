"""What a registry holds, as plain data and for people."""

from __future__ import annotations

from typing import Any

from components.errors import UserError, nearest
from components.spec.parse import parse_spec
from flows.catalogue import judged_by
from flows.registry.versions import Registry, Version
from flows.store import Store


def list_models(store: Store) -> list[dict[str, Any]]:
    """Return a row a model: name, number of versions, the champion's number, run, data version and headline."""
    registry = Registry(store)
    rows = []
    for model in registry.models():
        champion = registry.champion(model)
        rows.append({"model": model, "versions": len(registry.versions(model)), "champion": None if champion is None else _row(champion)})
    return rows


def show_model(store: Store, model: str) -> dict[str, Any]:
    """Return a model's versions and the entries that made them champion.

    Raises:
        UserError: the store knows no such model.
    """
    registry = Registry(store)
    if model not in registry.models():
        known = registry.models()
        raise UserError(f"no model of this store is called {model}{nearest(model, known)}", expected=f"one of: {', '.join(known) or 'none yet'}")
    champion = registry.champion(model)
    history = [{"at": entry.at, **entry.body} for entry in registry.history(model)]
    versions = [_row(version) for version in registry.versions(model)]
    return {"model": model, "champion": None if champion is None else champion.number, "versions": versions, "history": history}


def _row(version: Version) -> dict[str, Any]:
    metric, value = headline(version)
    data = version.data
    return {
        "version": version.number,
        "run_id": version.run_id,
        "created": version.record["created"],
        "data": data["name"],
        "data_version": data["content_sha256"],
        "metric": metric,
        "value": value,
        "directory": str(version.directory),
    }


def headline(version: Version) -> tuple[str, float | None]:
    """Return the metric that a version's experiment is judged by, and its value when it was trained."""
    try:
        metric, _ = judged_by(parse_spec(version.record["spec"]))
    except UserError:  # made by another version of the code
        return "", None
    split, _, name = metric.partition("/")
    return metric, version.metrics.get(split, {}).get(name)


def list_text(rows: list[dict[str, Any]]) -> str:
    """The models, a line each."""
    if not rows:
        return "no model yet: `modelyard promote RUN` makes the first"
    width = max(len(row["model"]) for row in rows)
    return "\n".join(f"{row['model']:<{width}}  {_champion(row)}" for row in rows)


def _champion(row: dict[str, Any]) -> str:
    return f"{row['versions']} versions, none is champion" if row["champion"] is None else f"champion: {_told(row['champion'])}"


def _told(row: dict[str, Any]) -> str:
    value = "" if row["value"] is None else f"  {row['metric']} {row['value']:.4g}"
    return f"version {row['version']}{value}  data {row['data']} {row['data_version'][:12]}  {row['created']}  {row['run_id']}"


def show_text(found: dict[str, Any]) -> str:
    """One model: its versions, and how the champions came."""
    lines = [found["model"]]
    lines += [f"  {'*' if row['version'] == found['champion'] else ' '} {_told(row)}\n      {row['directory']}" for row in found["versions"]]
    lines += ["how they became champion:"]
    lines += [
        f"    {e['at']}  version {e['version']}{' again' if e['back'] else ''}, after {e['before'] or 'none'}: {e['because']}"
        for e in found["history"]
    ]
    return "\n".join(lines)
