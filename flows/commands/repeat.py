"""`modelyard repeat`: several seeds, folds or data sets, and the spread."""

from __future__ import annotations

import argparse
import json

from flows.commands import overrides

HELP = "run once for each value of a key and tell mean and deviation of what was measured"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--over", required=True, metavar="KEY=VALUES", help="such as seed=0..9 or data.prepare.fold=0,3,5")
    overrides(parser)


def execute(options: argparse.Namespace) -> int:
    from flows.progress import terminal
    from flows.repeat import repeat, repeat_text

    result = repeat(options.overrides, options.over, terminal(json=options.json).line)
    print(json.dumps(result) if options.json else repeat_text(result), flush=True)
    return 0
