"""Ray Tune, in a process of its own: a cluster, one `Tuner`, its trials. Asked for by flows/adapters/tune.py, which says why it is apart."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from components.files import read_json, read_object, write_json
from components.spec.parse import parse
from components.spec.schema import ClusterSpec, TuneSpec
from components.training.journal import Journal, read
from flows.adapters.ray import OBJECT_STORE_BYTES, as_error, failure
from flows.adapters.tune import FAILURES, JOURNAL, STATE
from flows.adapters.tune_algorithms import param_space, pauses, scheduler, searcher
from flows.adapters.tune_budget import budget, refusal
from flows.adapters.tune_trial import TRIAL_ENVIRONMENT, VALUE, trial
from flows.search.preflight import trials_at_once
from flows.search.values import plain

_POLL_SECONDS = 0.1
_TRIES_AFTER_A_KILL = 1  # of a trial whose process was killed, from its last checkpoint
_KEPT_TOLD = 4  # of Tune's own small checkpoints: who is exploited may be read a little late


def main(path: Path) -> int:
    """Search as an order says, until the search ends, the driver is gone or says so."""
    order = read_json(path)
    driver, told = os.getppid(), threading.Event()
    search = threading.Thread(target=_search, args=(order,), daemon=True)
    search.start()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    while search.is_alive() and not told.is_set() and os.getppid() == driver:
        search.join(_POLL_SECONDS)
    from flows.adapters.ray_group import shut_down

    shut_down()
    sys.stdout.flush()
    os._exit(1 if (Path(order["directory"]) / "failed.json").exists() else 0)


def _search(order: dict[str, Any]) -> None:
    directory = Path(order["directory"])
    try:
        _fit(order, directory)
        _require_a_result(directory)
    except BaseException as error:
        write_json(directory / "failed.json", failure(error, traceback.format_exc()))


def _fit(order: dict[str, Any], directory: Path) -> None:
    import ray
    from ray import tune

    cluster = parse(ClusterSpec, order["cluster"], "cluster")
    wanted = parse(TuneSpec, order["tune"], "tune")
    # Tune's usage statistics would import it here: a second, and two folders that this process's end leaves among the temporary files.
    sys.modules["wandb"] = None  # type: ignore[assignment]
    random.seed(wanted.seed)  # which population-based training draws from
    np.random.seed(wanted.seed)
    _connect(cluster)
    order["address"] = ray.get_runtime_context().gcs_address
    at_once = trials_at_once(cluster, wanted, ray.cluster_resources())
    trainable = tune.with_resources(trial, _resources(cluster, wanted, at_once))
    state = directory / STATE
    if tune.Tuner.can_restore(str(state)):
        tuner = tune.Tuner.restore(str(state), trainable, resume_unfinished=True, restart_errored=False)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=param_space(wanted, order),
            tune_config=tune.TuneConfig(
                metric=VALUE,
                mode=order["mode"],
                search_alg=searcher(wanted, order["mode"], at_once, order["known"]),
                scheduler=scheduler(wanted),
                num_samples=1 if wanted.algorithm in ("list", "grid") else wanted.budget.trials,
                max_concurrent_trials=at_once if wanted.algorithm in ("tpe", "cma_es") else None,  # the generator of variants has its own
                reuse_actors=True,  # a trial must not pay for importing torch
            ),
            run_config=tune.RunConfig(
                name=state.name,
                storage_path=str(state.parent),
                verbose=0,
                stop=budget(directory, wanted.budget, wanted.workers * cluster.gpus_per_worker, wanted.algorithm == "list"),
                failure_config=tune.FailureConfig(max_failures=_TRIES_AFTER_A_KILL),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=_KEPT_TOLD),
                callbacks=[_journal(directory)],
            ),
        )
    tuner.fit()


def _resources(cluster: ClusterSpec, wanted: TuneSpec, at_once: int) -> dict[str, float]:
    """What Ray reserves for a trial.

    One that only waits for its worker group takes none of the CPUs that those ask for, or they would never all be placed (ray#54305), but Tune wants
    a request that is not empty. Where the searcher must not limit how many run, a share of the cluster's memory does; Ray only counts it.
    """
    import ray

    alone = {"CPU": cluster.cpus_per_worker} | ({"GPU": cluster.gpus_per_worker} if cluster.gpus_per_worker else {})
    found = alone if wanted.workers == 1 else {"CPU": 0.0, "memory": float(1 << 20)}
    if pauses(wanted):
        nodes = [float(node["Resources"].get("memory", 0.0)) for node in ray.nodes() if node["Alive"]]
        found["memory"] = float(int(min(sum(nodes) / at_once, *nodes)))
    return found


def _connect(cluster: ClusterSpec) -> None:
    import ray

    os.environ.update(TRIAL_ENVIRONMENT)
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "2")  # Tune's state is written at most that often: what a kill makes it forget
    common: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.WARNING}
    if cluster.address is None:
        ray.init(address="local", num_cpus=os.cpu_count(), object_store_memory=OBJECT_STORE_BYTES, **common)
    else:
        ray.init(address=cluster.address, runtime_env={"env_vars": TRIAL_ENVIRONMENT}, **common)


def _require_a_result(directory: Path) -> None:
    """A configuration that is refused at once would be refused in every trial: that is the user's to mend, and no failed trial."""
    told = refusal(directory)
    if told is not None and not any(record["kind"] == "result" for record in read(directory / JOURNAL)):
        raise as_error(told)


def _journal(directory: Path) -> Any:
    """Make the callback that writes down what becomes of each trial, for the terminal and the report."""
    from ray import tune

    class Write(tune.Callback):  # type: ignore[misc]
        def setup(self, **_: Any) -> None:
            self._journal = Journal(directory / JOURNAL)
            self._complete: set[str] = set()
            self._heard: dict[str, float] = {}  # when a trial last told something

        def _write(self, kind: str, trial: Any, **fields: Any) -> None:
            values = fields.pop("values", None) or plain(trial.config["values"])
            self._journal.write(kind, trial=trial.trial_id, values=values, **{"at": time.time(), **fields})

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            self._write("begin", trial)

        def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
            if result["donor"] is not None:
                self._write("exploit", trial, values=result["values"], step=result["donor"]["step"], **{"from": result["donor"]["trial"]})
            self._heard[trial.trial_id] = time.time()
            if result["complete"]:
                self._complete.add(trial.trial_id)
            if not result["repeats"]:
                # Its own values: a scheduler that changes them has done so before this is called.
                shown = {name: result[name] for name in ("step", "percent", "value", "values", "overrides", "training")}
                self._write("result", trial, **shown)

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            if trial.status == "PAUSED":  # it waited, and is not taken up again
                self._write("pause", trial, at=self._heard.get(trial.trial_id, time.time()))
            self._write("end", trial, **({"complete": True} if trial.trial_id in self._complete else {}))

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            self._write("error", trial, reason=_reason(directory, trial.trial_id))

    return Write()


def _reason(directory: Path, trial: str) -> str:
    """What ended a trial, in its own words; a process that was killed has none. Tune itself knows only after its callbacks."""
    told = read_object(directory / FAILURES / f"{trial}.json")
    return " ".join(told["error"].split()) if told else "its process was killed, twice"


if __name__ == "__main__":
    # Run as an importable module, not as __main__: Ray's workers look `trial` up by its module's name.
    from flows.adapters import tune_group

    sys.exit(tune_group.main(Path(sys.argv[1])))
