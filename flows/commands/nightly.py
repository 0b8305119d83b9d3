"""`modelyard nightly --once`: the night, here and now."""

from __future__ import annotations

import argparse
import json

from flows.commands import overrides

HELP = "retrain the models of conf/nightly.yaml if anything changed, judge them, promote or not, and tell what happened"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", required=True, help="now, in this process; the deployment nightly/nightly does it on schedule")
    parser.add_argument("--model", action="append", default=[], metavar="MODEL", help="only this one; may be given several times")
    overrides(parser)


def execute(options: argparse.Namespace) -> int:
    from flows.nightly.digest import digest_text
    from flows.nightly.night import failed, night
    from flows.progress import terminal
    from flows.through_prefect import ThroughPrefect

    with ThroughPrefect() as prefect:
        found = night(options.model, options.overrides, "by hand", prefect.carry_out, terminal(json=options.json).line)
    print(json.dumps(found) if options.json else digest_text(found), flush=True)
    return 1 if failed(found) else 0
