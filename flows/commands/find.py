"""`modelyard find`: the learning rate, the batch size."""

from __future__ import annotations

import argparse
import json

from flows.commands import overrides

HELP = "find the learning rate (lr) or the batch size (batch); changes nothing"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("lr", "batch"), help="what to find")
    overrides(parser)


def execute(options: argparse.Namespace) -> int:
    from flows.examine import examine, found_text
    from flows.progress import terminal

    function = {"lr": "find_learning_rate", "batch": "find_batch_size"}[options.what]
    result = examine(function, options.overrides, terminal(json=options.json).line)
    print(json.dumps(result) if options.json else found_text(result), flush=True)
    return 0
