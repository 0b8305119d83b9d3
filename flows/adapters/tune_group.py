"""Ray Tune, in a process of its own: a cluster, one `Tuner`, its trials. Asked for by flows/adapters/tune.py, which says why it is apart."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.files import read_json, write_json
from components.spec.parse import parse
from components.spec.schema import TuneSpec
from components.spec.space import Range, parse_space
from flows.adapters.ray import failure

TOLD = "told.json"  # in a Tune checkpoint: how far the trial has reported
_POLL_SECONDS = 0.1


def main(path: Path) -> int:
    """Search as an order says, until the search ends or the driver is gone."""
    order = read_json(path)
    driver = os.getppid()
    search = threading.Thread(target=_search, args=(order,), daemon=True)
    search.start()
    while search.is_alive() and os.getppid() == driver:
        search.join(_POLL_SECONDS)
    from flows.adapters.ray_group import shut_down

    shut_down()
    sys.stdout.flush()
    os._exit(1 if Path(order["failed"]).exists() else 0)


def _search(order: dict[str, Any]) -> None:
    try:
        _fit(order)
    except BaseException as error:
        write_json(Path(order["failed"]), failure(error, traceback.format_exc()))


def _fit(order: dict[str, Any]) -> None:
    import ray
    from ray import tune

    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    ray.init(address=order["address"] or "local", include_dashboard=False, log_to_driver=False, logging_level="warning")
    wanted = parse(TuneSpec, order["tune"], "tune")
    trainable = tune.with_resources(trial, order["resources"])
    state = Path(order["state"])
    if tune.Tuner.can_restore(str(state)):
        tuner = tune.Tuner.restore(str(state), trainable, resume_unfinished=True, restart_errored=False)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=_param_space(wanted, order),
            tune_config=_tune_config(wanted, order),
            run_config=tune.RunConfig(
                name=state.name,
                storage_path=str(state.parent),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
                callbacks=[_journal(Path(order["journal"]), order["metric"])],
            ),
        )
    tuner.fit()


def trial(config: dict[str, Any]) -> None:
    """What each trial runs."""
    from ray import tune

    from flows.search.trial import carry_out, overrides_of

    order, values = config["order"], config["values"]
    os.chdir(order["root"])
    before = tune.get_checkpoint()
    since = 0 if before is None else _told(before)

    def report(measured: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            write_json(Path(scratch) / TOLD, {"step": measured["step"]})
            tune.report(measured, checkpoint=tune.Checkpoint.from_directory(scratch))

    carry_out([*order["overrides"], *overrides_of(values)], order["command"], report, since)


def _told(checkpoint: Any) -> int:
    with checkpoint.as_directory() as directory:
        step: int = read_json(Path(directory) / TOLD)["step"]
        return step


def _param_space(wanted: TuneSpec, order: dict[str, Any]) -> dict[str, Any]:
    from ray import tune

    constant = {name: order[name] for name in ("root", "overrides", "command")}
    if wanted.algorithm == "list":
        return {"order": constant, "values": tune.grid_search(list(wanted.configurations))}
    space = parse_space(wanted.space)
    if wanted.algorithm == "grid":
        return {"order": constant, "values": {key: tune.grid_search(span.grid(wanted.grid_points)) for key, span in space.items()}}
    return {"order": constant, "values": {key: _domain(span) for key, span in space.items()}}


def _domain(span: Range) -> Any:
    from ray import tune

    if span.kind == "choice":
        return tune.choice(list(span.values))
    low, high = span.values
    if "integer" in span.kind:  # Tune's upper bound is not included
        return (tune.lograndint if span.kind.startswith("log") else tune.randint)(low, high + 1)
    return (tune.loguniform if span.kind.startswith("log") else tune.uniform)(low, high)


def _tune_config(wanted: TuneSpec, order: dict[str, Any]) -> Any:
    from ray import tune

    samples = 1 if wanted.algorithm in ("list", "grid") else wanted.budget.trials
    return tune.TuneConfig(
        metric=order["metric"],
        mode=order["mode"],
        search_alg=_searcher(wanted, order),
        scheduler=_scheduler(wanted),
        num_samples=samples,
        max_concurrent_trials=order["at_once"] if wanted.algorithm in ("tpe", "cma_es") else None,  # the generator of variants has its own
        time_budget_s=None if wanted.budget.hours is None else wanted.budget.hours * 3600,
        reuse_actors=True,
    )


def _searcher(wanted: TuneSpec, order: dict[str, Any]) -> Any:
    if wanted.algorithm in ("tpe", "cma_es"):
        from optuna.samplers import CmaEsSampler, TPESampler
        from ray.tune.search.optuna import OptunaSearch

        sampler = (TPESampler if wanted.algorithm == "tpe" else CmaEsSampler)(seed=wanted.seed)
        return OptunaSearch(sampler=sampler, metric=order["metric"], mode=order["mode"])
    from ray.tune.search import BasicVariantGenerator

    return BasicVariantGenerator(random_state=wanted.seed, constant_grid_search=True, max_concurrent=order["at_once"])


def _scheduler(wanted: TuneSpec) -> Any:
    from ray.tune import schedulers

    if wanted.algorithm == "asha":
        grace = max(100.0 * wanted.grace, 1.0)
        return schedulers.ASHAScheduler(time_attr="percent", max_t=100, grace_period=grace, reduction_factor=wanted.reduction)
    if wanted.algorithm == "hyperband":
        return schedulers.MedianStoppingRule(time_attr="percent", grace_period=100.0 * wanted.grace, min_samples_required=3)
    return schedulers.FIFOScheduler()


def _journal(path: Path, metric: str) -> Any:
    """Make the callback that writes each result of each trial to a journal, for the terminal and the report."""
    from ray import tune

    from components.training.journal import Journal

    class Write(tune.Callback):  # type: ignore[misc]
        def setup(self, **_: Any) -> None:
            self._file = Journal(path)

        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
            kept = {"step": result["step"], "percent": result["percent"], "value": result[metric]}
            self._file.write("result", trial=trial.trial_id, values=trial.config["values"], at=time.time(), **kept)

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            self._file.write("end", trial=trial.trial_id, values=trial.config["values"], at=time.time())

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            self._file.write("error", trial=trial.trial_id, values=trial.config["values"], at=time.time(), reason=_reason(trial))

    return Write()


def _reason(trial: Any) -> str:
    error = trial.get_pickled_error() or trial.get_error()
    return str(getattr(error, "cause", error) or "the trial's process ended").strip().splitlines()[-1]


if __name__ == "__main__":
    from flows.adapters import tune_group

    try:
        sys.exit(tune_group.main(Path(sys.argv[1])))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
