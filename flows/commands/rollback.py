"""`modelyard rollback`: an earlier version becomes champion again."""

from __future__ import annotations

import argparse
import json

from flows.commands import store_option

HELP = "make an earlier version of a model champion again; no flow promotes the one left behind by itself"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--to", type=int, metavar="VERSION", help="the version; without it the newest champion before that nobody went back from")
    parser.add_argument("--because", required=True, metavar="TEXT", help="why; goes into the ledger")
    store_option(parser)


def execute(options: argparse.Namespace) -> int:
    from flows.open import find_store
    from flows.progress import terminal
    from flows.registry.promotion import rollback

    _, store = find_store(options.store)
    version = rollback(store, options.model, options.to, options.because, terminal(json=options.json).line)
    told = {"model": version.model, "version": version.number, "run_id": version.run_id, "directory": str(version.directory)}
    print(json.dumps(told) if options.json else f"{version.model}: version {version.number} ({version.run_id}) is champion again", flush=True)
    return 0
