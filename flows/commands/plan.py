"""`modelyard plan`: what would happen."""

from __future__ import annotations

import argparse
import json

from flows.commands import overrides as arguments  # noqa: F401 - part of the face

HELP = "show what would run and why, steps, parameters, learning rates, disk; runs nothing"


def execute(options: argparse.Namespace) -> int:
    from flows.plan import plan, plan_text

    found = plan(options.overrides)
    print(json.dumps(found) if options.json else plan_text(found), flush=True)
    return 0
