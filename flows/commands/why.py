"""`modelyard why`: why a stage ran, or did not."""

from __future__ import annotations

import argparse
import json

from flows.commands import store_option

HELP = "explain what the last run decided about a stage: whether it ran, when, and every change that made it run"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", metavar="STAGE", help="data, check, train, evaluate or report")
    parser.add_argument("run", metavar="RUN", nargs="?", help="a beginning of the run's id; the last run without it")
    store_option(parser)


def execute(options: argparse.Namespace) -> int:
    from flows.open import find_store
    from flows.why import why, why_text

    _, store = find_store(options.store)
    found = why(store, options.stage, options.run)
    print(json.dumps(found) if options.json else why_text(found), flush=True)
    return 0
