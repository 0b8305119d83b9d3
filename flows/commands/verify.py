"""`modelyard verify`: was anything changed?"""

from __future__ import annotations

import argparse
import json

from flows.commands import store_option as arguments  # noqa: F401 - part of the face

HELP = "hash the whole store again: ledger, stages, patches, checkpoints; exit code 1 when something was changed or is missing"


def execute(options: argparse.Namespace) -> int:
    from flows.lineage.records import Records
    from flows.lineage.verify import verify, verify_text
    from flows.open import find_store
    from flows.progress import terminal

    found = verify(Records(*find_store(options.store)), terminal(json=options.json).line)
    print(json.dumps(found) if options.json else verify_text(found), flush=True)
    return 0 if found["sound"] else 1
