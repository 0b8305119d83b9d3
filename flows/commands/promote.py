"""`modelyard promote`: a finished run before the gate; champion, if it is let through."""

from __future__ import annotations

import argparse
import json

from flows.commands import store_option

HELP = "compare a finished run with the champion on the same test data; make it champion if the gate lets it through"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a beginning of a run's id")
    parser.add_argument("--model", metavar="MODEL", help="the model's name; the experiment's without it, such as cnn-lenet5")
    parser.add_argument("--because", metavar="TEXT", help="promote it whatever the gate says; the reason goes into the ledger")
    store_option(parser)


def execute(options: argparse.Namespace) -> int:
    from components.gate.refusals import refusals, verdict_text
    from flows.lease import mark_this_process
    from flows.open import find_store
    from flows.progress import terminal
    from flows.registry.candidate import candidate_of
    from flows.registry.decide import decide_candidate

    _, store = find_store(options.store)
    mark_this_process()
    candidate = candidate_of(store, options.run)
    model = options.model or candidate.spec.experiment.replace("/", "-")
    decision = decide_candidate(store, model, candidate, options.because, terminal(json=options.json).line)
    told = {
        "model": model,
        "run_id": candidate.run_id,
        "status": decision.status,
        "version": None if decision.version is None else decision.version.number,
        "directory": None if decision.version is None else str(decision.version.directory),
        "before": None if decision.before is None else decision.before.number,
        "reasons": decision.reasons,
        "verdict": decision.verdict,
    }
    if options.json:
        print(json.dumps(told), flush=True)
    elif decision.status == "unchanged" and decision.version is not None:
        print("\n".join([f"{model}: unchanged, version {decision.version.number} is champion", *(f"  {reason}" for reason in decision.reasons)]))
    else:
        against = "no champion to compare with" if decision.before is None else f"against version {decision.before.number}"
        print(f"{model}: {decision.status}, {against}\n{verdict_text(decision.verdict)}", flush=True)
        for reason in decision.reasons:
            if reason not in refusals(decision.verdict):
                print(f"  REFUSED  {reason}")
    return 1 if decision.status == "refused" else 0
