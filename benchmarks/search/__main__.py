"""What a search costs, and what stopping early is worth, as two tables.

    python -m benchmarks.search
    python -m benchmarks.search --only trial

trial: seconds a trial against a bare Ray Tune function with the same training in it; aim: at most 1.15 times.
early: trials an hour of ASHA against random search over the same draws, and the best that both find; aim: at least twice as many. Fashion-MNIST
needs MODELYARD_DATA_MIRROR, or a network.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from benchmarks.record import publish
from benchmarks.search import early, trial

MEASURES: dict[str, Callable[[], tuple[list[dict[str, Any]], dict[str, Any]]]] = {"trial": trial.measure, "early": early.measure}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(MEASURES), action="append", help="a table; may be given again")
    for name in parser.parse_args().only or MEASURES:
        rows, notes = MEASURES[name]()
        publish(f"search_{name}", rows, notes)


if __name__ == "__main__":
    main()
