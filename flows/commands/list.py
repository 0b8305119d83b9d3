"""`modelyard list`: the catalogue."""

from __future__ import annotations

import argparse
import json

HELP = "the catalogue: what can be trained, from which item, and the best result in this store"


def execute(options: argparse.Namespace) -> int:
    from flows.catalogue import catalogue, catalogue_text

    rows = catalogue()
    print(json.dumps({"experiments": rows}) if options.json else catalogue_text(rows), flush=True)
    return 0
