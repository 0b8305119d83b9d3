"""What the arithmetic of docs/scale.md starts from, and what it comes to.

    python -m benchmarks.scale
    python -m benchmarks.scale --only disk,store

disk, shards, store, dvc, prefect, recovery: measured on this machine, each kept in results/scale.json under its name, so that a part can be
measured again alone. Then the arithmetic is done with what is known.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.record import publish
from benchmarks.scale.arithmetic import computed
from benchmarks.scale.measure import Row, disk, dvc, in_scratch, shards, store
from benchmarks.scale.prefect_rows import prefect
from benchmarks.scale.recovery import recovery
from components.files import read_object

NAME = "scale"
_NOTES = {"load": "processes that wanted one of the machine's cores when the part had been measured; what is told in CPU time does not depend on it"}
MEASURES: dict[str, Callable[[Path], Iterator[Row]]] = {
    "disk": disk,
    "shards": shards,
    "store": store,
    "dvc": dvc,
    "prefect": prefect,
    "recovery": recovery,
}


def main() -> None:
    """Measure, compute and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", type=lambda text: [word for word in text.split(",") if word], default=list(MEASURES), help="parts, with commas between"
    )
    only = parser.parse_args().only
    if unknown := set(only) - set(MEASURES):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    before = read_object(Path(__file__).parents[1] / "results" / f"{NAME}.json")
    rows = [r for r in before.get("rows", []) if r["part"] in MEASURES and r["part"] not in only]
    for name in only:
        found = in_scratch(MEASURES[name])
        rows += [{"part": name, "kind": "measured", **r, "how": f"load {os.getloadavg()[0]:.0f}"} for r in found]
        publish(NAME, [*rows, *_computed(rows)], _NOTES)
    if not only:
        publish(NAME, [*rows, *_computed(rows)], _NOTES)


def _computed(rows: list[Row]) -> list[dict[str, Any]]:
    return [{"part": "arithmetic", **r} for r in computed({r["what"]: r["value"] for r in rows})]


if __name__ == "__main__":
    main()
