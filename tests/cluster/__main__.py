"""`python -m tests.cluster ["WORDS" ...]`: plays the cases, or those whose names hold the words, and prints the table of docs/cluster.md."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tests.cluster.cases import CASES
from tests.cluster.hosts import missing
from tests.cluster.play import Outcome, largest_difference, play, workspace


def main() -> int:
    """Play the undisturbed run and the chosen cases; 1 when one failed. Where there can be no hosts, say why, and that is all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help='a part of a case\'s name: "cut", "joins"')
    parser.add_argument("--logs", type=Path, help="where the logs of cases that fail are copied to")
    chosen = parser.parse_args()
    if lack := missing():
        print(f"skipped: the cluster of hosts {lack}")
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever is ended leaves no host; started by a shell's `&`, SIGINT would even be ignored
        signal.signal(number, signal.default_int_handler)
    cases = [c for c in CASES[1:] if not chosen.words or any(word in c.name for word in chosen.words)]
    print(f"{'case':<48} {'seconds':>8} {'recovered':>10} {'again':>6} {'samples':>8} {'accuracy':>9} {'loss off by':>12}  verdict", flush=True)
    with workspace() as (folder, space):
        reference = play(CASES[0], folder / "0", space, None, chosen.logs)
        failed = _tell(reference, None)
        for number, case in enumerate(cases if not failed else [], 1):
            failed += _tell(play(case, folder / str(number), space, reference, chosen.logs), reference)
    return 1 if failed else 0


def _tell(outcome: Outcome, reference: Outcome | None) -> bool:
    """Print a line of the table; True when the case failed."""
    recovered = "" if outcome.recovered is None else f"{outcome.recovered:.1f} s"
    off = "" if reference is None or outcome.code != 0 else f"{largest_difference(outcome, reference):.0e}"
    figures = f"{outcome.seconds:>6.0f} s {recovered:>10} {outcome.again:>6} {outcome.samples:>8} {outcome.accuracy:>9.4f} {off:>12}"
    print(f"{outcome.case.name:<48} {figures}  {'; '.join(outcome.complaints) or 'ok'}", flush=True)
    return bool(outcome.complaints)


if __name__ == "__main__":
    sys.exit(main())
