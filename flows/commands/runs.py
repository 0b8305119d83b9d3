"""`modelyard runs`: list, show, compare, rm, pin, unpin."""

from __future__ import annotations

import argparse
import json

from flows.commands import store_option

HELP = "the runs of a store: list, show, compare, rm, pin, unpin"
_ACTIONS = ("list", "show", "compare", "rm", "pin", "unpin")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=_ACTIONS, help="rm removes a run and the stages that no other needs; a pinned run is never removed")
    parser.add_argument("runs", metavar="RUN", nargs="*", help="a beginning of a run's id; for list: an experiment, or a family of them")
    store_option(parser)


def execute(options: argparse.Namespace) -> int:
    from flows.open import find_store

    _require_count(options.action, len(options.runs))
    _, store = find_store(options.store)
    name, words = options.action, options.runs
    if name == "list":
        from flows.listing import list_runs, list_text

        rows = list_runs(store, words[0] if words else None)
        found, text = {"runs": rows}, list_text(rows)
    elif name == "show":
        from flows.listing import show_run, show_text

        found = show_run(store, words[0])
        text = show_text(found)
    elif name == "compare":
        from flows.compare import compare_runs, compare_text

        found = compare_runs(store, words)
        text = compare_text(found)
    elif name == "rm":
        from flows.housekeeping.discard import discard_text, remove_run

        found = remove_run(store, words[0])
        text = discard_text(found)
    else:
        from flows.runs import pin, pin_text

        found = pin(store, words[0], pinned=name == "pin")
        text = pin_text(found)
    print(json.dumps(found) if options.json else text, flush=True)
    return 0


def _require_count(action: str, count: int) -> None:
    from components.errors import UserError

    least, most, told = {"list": (0, 1, "an experiment or nothing"), "compare": (2, 1 << 30, "two runs or more")}.get(action, (1, 1, "one run"))
    if not least <= count <= most:
        raise UserError(f"`runs {action}` takes {told}", received=f"{count} words", expected=told)
