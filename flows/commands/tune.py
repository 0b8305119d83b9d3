"""`modelyard tune`: the search alone; `modelyard run ... tune=asha` goes on and trains what it found."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from typing import Any

from flows.commands import overrides

HELP = "search an experiment's parameters for the best trainer.monitor (conf/tune); the same command continues a search that was cut off"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--save", metavar="NAME", help="put what was found under conf/experiment as an experiment of that name")
    overrides(parser)


def execute(options: argparse.Namespace) -> int:
    from flows.progress import terminal
    from flows.search.alone import search_alone

    command = f"modelyard tune {shlex.join(options.overrides)}"
    found = search_alone(options.overrides, command, options.save, terminal(json=options.json).line)
    if options.json:
        print(json.dumps(found), flush=True)
    else:
        _print_result(found)
    return 0


def _print_result(found: dict[str, Any]) -> None:
    print(f"\nbest of {found['trials']} trials: {found['metric']} {found['value']}")
    for key, value in found["values"].items():
        print(f"  {key} = {value}")
    print(f"  trials: {os.path.relpath(found['page'])}, {os.path.relpath(found['csv'])}")
    if found["saved"] is not None:
        print(f"  saved:  {os.path.relpath(found['saved'])}")
    print(f"  run it: {found['run']}")
