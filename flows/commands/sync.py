"""`modelyard sync`: give W&B what could not be given while it was away."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from flows.commands import store_option

HELP = "send to W&B, in order, what runs tracked offline, what an outage cut off, and promotions; exit code 1 when something could not be sent"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", nargs="?", help="a beginning of a run's id; every run of the store without it")
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent")
    store_option(parser)


def execute(options: argparse.Namespace) -> int:
    from flows.adapters.wandb_sync import sync
    from flows.open import find_store
    from flows.progress import terminal
    from flows.runs import find_run

    _, store = find_store(options.store)
    run_id = None if options.run is None else find_run(store, options.run).name
    outcome = sync(store.root, run_id, dry_run=options.dry_run, announce=terminal(json=options.json).line)
    if options.json:
        print(json.dumps(asdict(outcome)), flush=True)
    else:
        told = [f"{name}: {text}" for group in (outcome.sent, outcome.left, outcome.failed) for name, text in group.items()]
        counts = f"{len(outcome.sent)} sent, {len(outcome.left)} left, {len(outcome.failed)} not sent"
        print("\n".join([*told, counts]) if told else "nothing to send: W&B has everything", flush=True)
    return 1 if outcome.failed else 0
