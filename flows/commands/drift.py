"""`modelyard drift`: have the data moved since the champions were trained? It only looks; the deployment `drift` asks for retraining."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from flows.commands import overrides

HELP = "compare the newest data with what each champion was trained on, and say which models should be retrained; asks for nothing"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", action="append", default=[], metavar="MODEL", help="only this one; may be given several times")
    overrides(parser)


def execute(options: argparse.Namespace) -> int:
    from flows.drift.look import look, looks_text
    from flows.progress import terminal

    looks = look(options.model, options.overrides, terminal(json=options.json).line)
    print(json.dumps({"models": [asdict(one) for one in looks]}) if options.json else looks_text(looks), flush=True)
    return 1 if any(one.status == "failed" for one in looks) else 0
