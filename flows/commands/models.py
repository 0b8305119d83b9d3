"""`modelyard models`: the models of a store, their versions, which is champion and why."""

from __future__ import annotations

import argparse
import json

from flows.commands import store_option

HELP = "the models of a store, their versions, which is champion and why"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="one model: its versions and how they came")
    store_option(parser)


def execute(options: argparse.Namespace) -> int:
    from flows.open import find_store
    from flows.registry.listing import list_models, list_text, show_model, show_text

    _, store = find_store(options.store)
    if options.model is None:
        rows = list_models(store)
        print(json.dumps({"models": rows}) if options.json else list_text(rows), flush=True)
    else:
        found = show_model(store, options.model)
        print(json.dumps(found) if options.json else show_text(found), flush=True)
    return 0
