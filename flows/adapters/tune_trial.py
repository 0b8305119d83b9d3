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
    failed = Path(order["directory"]) / FAILURES / f"{own}.json"
    if failed.exists():  # Tune tries once more, which is for processes that were killed: an exception would come again
        raise as_error(read_json(failed), "the trial")
    os.chdir(order["root"])
    try:
        told = _told(tune.get_checkpoint())
        donor = _still_there(told) if told and told["trial"] != own else None
        goes_on = told and donor is None and told["values"] == values
        overrides = told["overrides"] if goes_on else _overrides(order, values, donor)
        composed = [*without_search(order["overrides"]), *overrides, *_where(order)]
        report = _Reporter(order, own, values, overrides, donor)
        carry_out(composed, order["command"], order["run_id"], report, (donor or told).get("step", 0), order["stages"], order.get("data"))
    except Exception as error:
        write_json(failed, failure(error, traceback.format_exc()))
        raise


class _Reporter:
    """Tells Tune what a trial has come to, with all that the next attempt, or who takes its weights over, has to know.

    Args:
        order: of the search.
        own: the trial's id.
        values: the trial's.
        overrides: that compose it over those of the search.
        donor: what the trial takes over, if it does.
    """

    def __init__(self, order: dict[str, Any], own: str, values: dict[str, Any], overrides: list[str], donor: dict[str, Any] | None) -> None:
        self._order, self._donor, self._last_step = order, donor, -1
        self._note: dict[str, Any] = {"trial": own, "values": values, "overrides": overrides}

    def __call__(self, measured: Measured) -> None:
        """Report; raises where Tune ends or pauses the trial."""
        from ray import tune

        note = {**self._note, **self._reached(measured)}
        figures = {
            VALUE: math.nan if measured.value is None else measured.value,
            "step": measured.step,
            "percent": measured.percent,
            GRACES: measured.percent / 100.0 / self._order["tune"]["grace"],
            "done": measured.finished,  # Tune's word, which it also gives those that it stops; no scheduler is asked any more
            "complete": measured.finished,
            "repeats": measured.step == self._last_step,  # its patience was at an end before its planned steps were
            "values": note["values"],
            "overrides": note["overrides"],
            "training": measured.directory.name.removesuffix(".partial"),
            "donor": self._donor and {"trial": self._donor["trial"], "step": self._donor["step"]},
        }
        self._donor, self._last_step = None, measured.step
        with tempfile.TemporaryDirectory() as folder:
            write_json(Path(folder) / _TOLD, note)
            tune.report(figures, checkpoint=tune.Checkpoint.from_directory(folder))

    def _reached(self, measured: Measured) -> dict[str, Any]:
        """The step from which the trial would go on, and the checkpoint that others may take over."""
        if self._order["tune"]["algorithm"] != "pbt":
            return {"step": measured.step, "checkpoint": None}
        folder = Path(self._order["population"]) / self._note["trial"]
        steps = _KEPT_GRACES * self._order["tune"]["grace"] * measured.step / measured.percent * 100.0
        checkpoint = population.keep(measured.directory, measured.step, folder, steps)
        return {"step": population.step_of(checkpoint), "checkpoint": str(checkpoint)}


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
