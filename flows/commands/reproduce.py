"""`modelyard reproduce`: a run again, from what is on record of it."""

from __future__ import annotations

import argparse
import json

from flows.commands import store_option

HELP = "rebuild a run's data, code and configuration in a scratch folder, train again and compare every metric; exit code 1 when they differ"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("word", metavar="RUN", help="a run's id, the beginning of it, or a checkpoint of it")
    parser.add_argument("--tolerance", type=float, default=0.0, help="by which a metric may differ (default 0: not at all, as on a CPU)")
    store_option(parser)


def execute(options: argparse.Namespace) -> int:
    from flows.lineage.records import Records
    from flows.lineage.reproduce import reproduce, reproduce_text
    from flows.open import find_store
    from flows.progress import terminal

    found = reproduce(Records(*find_store(options.store)), options.word, options.tolerance, terminal(json=options.json).line)
    print(json.dumps(found) if options.json else reproduce_text(found), flush=True)
    return 0 if found["reproduced"] else 1
