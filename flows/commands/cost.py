"""`modelyard cost`: what runs have cost."""

from __future__ import annotations

import argparse
import json

from flows.commands import store_option

HELP = "what a run has cost, by stage and trial: device-seconds, waste, throughput, money; --since 24h: all runs of a night"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", nargs="?", help="a beginning of a run's id; the last run without it")
    parser.add_argument("--since", metavar="LENGTH", help="all runs of the store, as far as they lie in the last 90m, 24h, 7d")
    store_option(parser)


def execute(options: argparse.Namespace) -> int:
    from datetime import UTC, datetime, timedelta

    from components.errors import UserError
    from flows.cost.cost import cost_of
    from flows.cost.night import night, parse_since
    from flows.cost.prices import read_prices
    from flows.cost.text import cost_text, night_text, plain_cost, plain_night
    from flows.open import find_store
    from flows.runs import last_run, read_run

    root, store = find_store(options.store)
    prices = read_prices(root)
    if options.since is None:
        cost = cost_of(store, read_run(store, options.run or last_run(store).name), prices)
        print(json.dumps(plain_cost(cost)) if options.json else cost_text(cost), flush=True)
        return 0
    if options.run is not None:
        raise UserError("`cost` takes a run or --since, not both", received=f"{options.run} --since {options.since}")
    found = night(store, datetime.now(UTC) - timedelta(seconds=parse_since(options.since)), prices)
    print(json.dumps(plain_night(found)) if options.json else night_text(found), flush=True)
    return 0
