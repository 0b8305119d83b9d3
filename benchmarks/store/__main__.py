"""What the store costs, as three tables.

    python -m benchmarks.store
    python -m benchmarks.store --only unchanged,commit

unchanged: a `modelyard run` with nothing to do against `dvc repro` with nothing to do; aim: at most 2.0 s, and 1.5 times DVC's.
lookup: what a look-up takes in stores of 10 to 10,000 runs; aim: the same. commit: what a finished stage takes beyond its own work.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from benchmarks.record import publish
from benchmarks.store import commit, lookup, unchanged

MEASURES: dict[str, Callable[[], tuple[list[dict[str, Any]], dict[str, Any]]]] = {
    "unchanged": unchanged.measure,
    "lookup": lookup.measure,
    "commit": commit.measure,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(MEASURES), help="tables, with commas between")
    arguments = parser.parse_args()
    unknown = set(arguments.only) - set(MEASURES)
    if unknown:
        parser.error(f"no such table: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    for name in arguments.only:
        rows, notes = MEASURES[name]()
        publish(f"store_{name}", rows, notes)


if __name__ == "__main__":
    main()
