"""`modelyard trace`: where a checkpoint comes from."""

from __future__ import annotations

import argparse
import json

from flows.commands import store_option

HELP = "where a checkpoint or a run comes from: data, specification, code, environment, stages, metrics, each link verified or not"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "word", metavar="CHECKPOINT|RUN", help="a checkpoint's directory, a file in it, a pointer such as checkpoints/best; a run's id"
    )
    store_option(parser)


def execute(options: argparse.Namespace) -> int:
    from flows.lineage.records import Records
    from flows.lineage.trace import trace, trace_text
    from flows.open import find_store
    from flows.progress import terminal

    found = trace(Records(*find_store(options.store)), options.word, terminal(json=options.json).line)
    print(json.dumps(found) if options.json else trace_text(found), flush=True)
    return 0
