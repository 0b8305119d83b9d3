"""`modelyard doctor`: is the machine sound; with overrides: is the system, before it is trained."""

from __future__ import annotations

import argparse
import json

from flows.commands import overrides as arguments  # noqa: F401 - part of the face

HELP = "check this machine, or with overrides a system before it is trained; exit code 1 when a check failed"


def execute(options: argparse.Namespace) -> int:
    from flows.examine import doctor_text, examine
    from flows.machine.look import look
    from flows.machine.machine import this_machine
    from flows.progress import terminal

    if options.overrides:
        result = examine("doctor", options.overrides, terminal(json=options.json).line)
    else:
        result = look(this_machine())
    print(json.dumps(result) if options.json else doctor_text(result), flush=True)
    return 1 if result["failed"] else 0
