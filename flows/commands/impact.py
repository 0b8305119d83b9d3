"""`modelyard impact`: what depends on a data set or a file."""

from __future__ import annotations

import argparse
import json

from flows.commands import store_option

HELP = "which runs depend on a data set, a version of one, a file of conf/ or a module, and whether it has changed since"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("word", metavar="DATA|FILE", help="a data set's name, the beginning of a content hash or of DVC's md5; a path to a file")
    store_option(parser)


def execute(options: argparse.Namespace) -> int:
    from flows.lineage.impact import impact, impact_text
    from flows.lineage.records import Records
    from flows.open import find_store

    found = impact(Records(*find_store(options.store)), options.word)
    print(json.dumps(found) if options.json else impact_text(found), flush=True)
    return 0
