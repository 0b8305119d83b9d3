"""The alternative that benchmarks.search.trial measures against: a Ray Tune function that trains and reports once, at its end.

No store, no checks of the configuration, no report of each validation, nothing that goes on after a kill.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from components.files import read_json, write_json


def train(config: dict[str, Any]) -> None:
    """One trial."""
    import torch
    from ray import tune

    from components.spec.parse import to_plain
    from components.training.fit import train as fit
    from components.training.notices import Told
    from components.training.session import LocalSession
    from flows.compose import compose

    spec = compose(Path(config["root"]), [*config["overrides"], f"optimizer.lr={config['rate']}"])
    with tempfile.TemporaryDirectory() as folder:
        order = {"spec": to_plain(spec), "data": config["data"], "directory": folder, "upstream": {}}
        summary = fit(LocalSession(torch.device("cpu"), Told()), order)
    tune.report({"value": summary["best"]["value"]})


def main(path: Path) -> None:
    """Search over the rates, one trial at a time; writes when each trial ended."""
    import ray
    from ray import tune

    class Stamps(tune.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
            self.ends.append(time.time())

    order, stamps = read_json(path), Stamps()
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    ray.init(address="local", include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": os.getcwd()}})
    constant = {"root": os.getcwd(), "overrides": order["overrides"], "data": order["data"]}
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            tune.with_resources(train, {"CPU": 1}),
            param_space={**constant, "rate": tune.grid_search(order["rates"])},
            tune_config=tune.TuneConfig(max_concurrent_trials=1, reuse_actors=True),
            run_config=tune.RunConfig(storage_path=folder, name="bare", verbose=0, callbacks=[stamps]),
        ).fit()
    ray.shutdown()
    write_json(Path(order["told"]), stamps.ends)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
