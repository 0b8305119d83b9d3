"""`python -m tests.chaos ["WORDS" ...]`: plays the matrix, or the cells whose names hold all the words of an argument, and prints a line for each."""

from __future__ import annotations

import argparse
import sys
import time

from tests.chaos.crowd import crowd
from tests.chaos.matrix import CELLS
from tests.chaos.play import arenas, play_all, prefect_server

_CROWD = 20


def main() -> int:
    """Play the crowd (`crowd`) and the cells; 1 when one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help='cells by words of their names: "train ray" "report done"; "crowd" is the pipelines at once')
    parser.add_argument("--at-a-time", type=int, default=2)
    chosen = parser.parse_args()
    phrases = [set(words.split()) for words in chosen.words] or [set()]
    cells = [c for c in CELLS if any(phrase <= set(c.name.split()) for phrase in phrases)]
    started, failed = time.monotonic(), 0
    if not chosen.words or "crowd" in chosen.words:
        failed += _crowd()
    print(f"\n{'cell':<36} {'first':>7} {'seconds':>8} {'then':>5} {'seconds':>8}  verdict", flush=True)
    for outcome in play_all(cells, chosen.at_a_time):
        failed += bool(outcome.complaints)
        one, two = outcome.first, outcome.second
        verdict = "; ".join(outcome.complaints) or "ok"
        if outcome.complaints:
            verdict += f"; the first command's last lines: {' / '.join(one.output.splitlines()[-3:])[-600:]}"
        print(f"{outcome.cell.name:<36} {one.code!s:>7} {one.seconds:>8.1f} {two.code!s:>5} {two.seconds:>8.1f}  {verdict}", flush=True)
    print(f"{len(cells)} cells, {failed} failed, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


def _crowd() -> bool:
    """Play the crowd, say how it went, and return whether it failed."""
    started = time.monotonic()
    with prefect_server() as url, arenas(1, url) as (arena,):
        found = list(crowd(arena, _CROWD, timeout_seconds=1200))
    print(f"{_CROWD} pipelines at once: {'; '.join(found) or 'every stage ran once'}, {time.monotonic() - started:.0f} s", flush=True)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
