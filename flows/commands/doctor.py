"""`modelyard doctor`: the checks before training."""

from __future__ import annotations

import argparse
import json

from flows.commands import overrides as arguments  # noqa: F401 - part of the face

HELP = "check a system before it is trained; exit code 1 when a check failed"


def execute(options: argparse.Namespace) -> int:
    from flows.examine import doctor_text, examine
    from flows.progress import terminal

    result = examine("doctor", options.overrides, terminal(json=options.json).line)
    print(json.dumps(result) if options.json else doctor_text(result), flush=True)
    return 1 if result["failed"] else 0
