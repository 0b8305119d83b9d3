"""`modelyard gc`: freeing what no kept run needs."""

from __future__ import annotations

import argparse
import json

from flows.commands import store_option

HELP = "show what the store could be without, and with --yes free it"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="remove it")
    parser.add_argument("--keep", type=int, default=3, metavar="N", help="newest finished runs of each experiment that stay beside its best (3)")
    store_option(parser)


def execute(options: argparse.Namespace) -> int:
    from flows.housekeeping.gc import collect_garbage, garbage_text
    from flows.open import find_store
    from flows.progress import terminal

    root, store = find_store(options.store)
    found = collect_garbage(root, store, options.keep, remove=options.yes, announce=terminal(json=options.json).line)
    print(json.dumps(found) if options.json else garbage_text(found), flush=True)
    return 0
