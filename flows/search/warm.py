"""What earlier searches in the store already know."""

from __future__ import annotations

import math
from typing import Any

from components.files import read_object
from components.spec.schema import Spec
from components.spec.space import parse_space
from flows.store import MANIFEST, Store

TRIALS = "trials.json"


def known(store: Store, spec: Spec, data_sha256: str) -> list[tuple[dict[str, Any], float]]:
    """Return what finished searches of the same experiment on the same data measured, `[(values, value)]`, best first.

    Only trials count that were trained to their end, whose values lie in this search's space and name all of its keys, and whose training was
    otherwise configured alike. A search whose `tune.warm_start` is false, or that names its configurations, knows nothing.
    """
    assert spec.tune is not None
    monitor = spec.trainer.monitor
    if not spec.tune.warm_start or spec.tune.algorithm in ("list", "grid"):
        return []
    space = parse_space(spec.tune.space)
    found: dict[str, tuple[dict[str, Any], float]] = {}
    for path in sorted((store.root / "stages" / "tune").glob(f"*/{MANIFEST}")):
        parts = read_object(path).get("parts", {})
        if not _alike(parts, spec, data_sha256, set(space)):
            continue
        for trial in read_object(path.with_name(TRIALS)).get("trials", []):
            values, value = trial["values"], trial["best"]
            usable = trial["status"] == "finished" and value is not None and math.isfinite(value)
            if usable and values.keys() == space.keys() and all(space[key].holds(v) for key, v in values.items()):
                found[repr(sorted(values.items()))] = values, value
    return sorted(found.values(), key=lambda pair: -pair[1] if monitor.mode == "max" else pair[1])


def _alike(parts: dict[str, Any], spec: Spec, data_sha256: str, varied: set[str]) -> bool:
    """Whether a search differs from this one in nothing but what both vary, and how."""
    from components.spec.parse import to_plain
    from flows.stages import configuration, flat

    if parts.get("inputs", {}).get("data") != data_sha256:
        return False
    before, now = flat(parts.get("config", {})), flat(to_plain(configuration("tune", spec)))
    differ = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
    return all(key.startswith("tune.") or key in varied for key in differ)
