"""`modelyard run`: the pipeline."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from typing import Any

from flows.commands import overrides as arguments  # noqa: F401 - part of the face

HELP = "run the pipeline: data, check, train, evaluate, report; what is unchanged is reused; with folds=10 for each fold of the data"


def execute(options: argparse.Namespace) -> int:
    from flows.open import open_run
    from flows.progress import terminal

    show = terminal(json=options.json)
    run = open_run(options.overrides, f"modelyard run {shlex.join(options.overrides)}".strip(), show.line, show.follow)
    if run.spec.folds is not None:
        return _folds(run, options)
    if not run.reuse_all():
        with run:
            run.warm_if_local()
            _through_prefect(run)
    result = run.result()
    if options.json:
        print(json.dumps(result), flush=True)
    else:
        _print_result(result)
    return 0


def _folds(run: Any, options: argparse.Namespace) -> int:
    from flows.folds import finished_folds
    from flows.repeat import repeat_text

    result = finished_folds(run) or _through_prefect(run)
    print(json.dumps(result) if options.json else repeat_text(result), flush=True)
    return 0


def _through_prefect(run: Any) -> dict[str, Any]:
    from flows.through_prefect import ThroughPrefect

    with ThroughPrefect() as prefect:
        return prefect.carry_out(run)


def _print_result(result: dict[str, Any]) -> None:
    print(f"\nrun {result['run_id']}")
    for name, stage in result["stages"].items():
        print(f"  {name:<9} {stage['status']:<7} {stage['seconds']:7.1f} s  {os.path.relpath(stage['directory'])}")
    for split, found in result["metrics"].items():
        print(f"  {split:<11}" + ", ".join(f"{name} {value:.4f}" for name, value in list(found.items())[:6]))
    for e in result["expectations"]:
        bound = f">= {e['minimum']}" if e["minimum"] is not None else f"<= {e['maximum']}"
        print(f"  expected {e['metric']} {bound}: {'met' if e['met'] else 'MISSED'}")
    print(f"  report: {result['report']}")
