"""What Ray Tune runs for each trial: flows/search/trial.py, with what it measures reported to Tune."""

from __future__ import annotations

import math
import os
import tempfile
import traceback
from pathlib import Path
from typing import Any

from components.files import read_json, write_json
from flows.adapters.ray import as_error, failure
from flows.adapters.tune import FAILURES
from flows.search import population
from flows.search.trial import Measured, carry_out
from flows.search.values import overrides_of, plain, without_search

VALUE = "value"  # of the monitored metric
GRACES = "graces"  # how far a training is, in units of what every trial is given
TRIAL_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",  # a stopped training saves before its actor is used again
}
_KEPT_GRACES = 3.0  # of checkpoints that may be handed on: who takes one over may have had to wait for a place
_TOLD = "told.json"  # in a Tune checkpoint: how far the trial has reported, and what a trial that takes it over goes on from


def trial(config: dict[str, Any]) -> None:
    """Carry out one trial, or the rest of it."""
    from ray import tune

    order, values, own = config["order"], plain(config["values"]), tune.get_context().get_trial_id()
    os.chdir(order["root"])
    failed = Path(order["directory"]) / FAILURES / f"{own}.json"
    if failed.exists():  # Tune tries once more, which is for processes that were killed: an exception would come again
        raise as_error(read_json(failed), "the trial")
    told = _told(tune.get_checkpoint())
    donor = _still_there(told) if told and told["trial"] != own else None
    overrides = told["overrides"] if told and donor is None and told["values"] == values else _overrides(order, values, donor)
    exploits = order["tune"]["algorithm"] == "pbt"

    last_step = -1

    def report(measured: Measured) -> None:
        nonlocal donor, last_step
        kept_steps = _KEPT_GRACES * order["tune"]["grace"] * measured.step / measured.percent * 100.0
        checkpoint = population.keep(measured.directory, Path(order["population"]) / own, kept_steps) if exploits else None
        step = measured.step if checkpoint is None else population.step_of(checkpoint)
        note = {"trial": own, "step": step, "values": values, "overrides": overrides, "checkpoint": None if checkpoint is None else str(checkpoint)}
        with tempfile.TemporaryDirectory() as scratch:
            write_json(Path(scratch) / _TOLD, note)
            figures = {
                VALUE: math.nan if measured.value is None else measured.value,
                "step": measured.step,
                "percent": measured.percent,
                GRACES: measured.percent / 100.0 / order["tune"]["grace"],
                "done": measured.finished,  # Tune's word, which it also gives those that it stops; no scheduler is asked any more
                "complete": measured.finished,
                "repeats": measured.step == last_step,  # its patience was at an end before its planned steps were
                "values": values,
                "overrides": overrides,
                "training": measured.directory.name.removesuffix(".partial"),
                "donor": None if donor is None else {"trial": donor["trial"], "step": donor["step"]},
            }
            donor, last_step = None, measured.step
            tune.report(figures, checkpoint=tune.Checkpoint.from_directory(scratch))

    try:
        composed = [*without_search(order["overrides"]), *overrides, *_where(order)]
        carry_out(composed, order["command"], order["run_id"], report, (donor or told).get("step", 0), order["stages"])
    except Exception as error:
        write_json(failed, failure(error, traceback.format_exc()))
        raise


def _overrides(order: dict[str, Any], values: dict[str, Any], donor: dict[str, Any] | None) -> list[str]:
    """The trial's own; one that takes over another's weights goes on from its checkpoint."""
    if donor is None:
        return overrides_of(values)
    permit = "optimizer,batch_size" if "trainer.batch_size" in values else "optimizer"
    return [*overrides_of(values), f"resume.checkpoint='{donor['checkpoint']}'", f"resume.permit=[{permit}]"]


def _still_there(told: dict[str, Any]) -> dict[str, Any]:
    """What to take over: where the donor has let go of the checkpoint meanwhile, the oldest that it still has."""
    checkpoint = population.nearest(Path(told["checkpoint"]))
    return {**told, "checkpoint": str(checkpoint), "step": population.step_of(checkpoint)}


def _where(order: dict[str, Any]) -> list[str]:
    """A trial of one worker trains in Tune's own actor, one of several starts its group on the same cluster."""
    if (workers := order["tune"]["workers"]) > 1:
        return [f"cluster.address={order['address']}", f"cluster.workers={workers}"]
    return ["cluster=inline", f"cluster.gpus_per_worker={order['cluster']['gpus_per_worker']}"]


def _told(checkpoint: Any) -> dict[str, Any]:
    """What the trial, or the one whose weights it takes over, has told Tune before."""
    if checkpoint is None:
        return {}
    with checkpoint.as_directory() as directory:
        found: dict[str, Any] = read_json(Path(directory) / _TOLD)
        return found
