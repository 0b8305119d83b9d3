"""conf/tune's algorithms, by what Ray Tune and Optuna make of them on a function whose best is known."""

from __future__ import annotations

import math
import os
import random
import statistics
import tempfile
from pathlib import Path

import pytest

from components.spec.schema import BudgetSpec, TuneSpec
from components.spec.space import parse_space
from flows.adapters.tune_algorithms import param_space, scheduler, searcher
from flows.adapters.tune_trial import GRACES, VALUE

SPACE = {"optimizer": {"lr": {"log_uniform": [1e-6, 1e0]}}, "trainer": {"batch_size": {"integer": [1, 64]}}}
BEST_LOG_RATE = -2.0
ORDER = dict.fromkeys(("root", "directory", "overrides", "command", "run_id", "stages", "population", "data", "address", "cluster", "tune"), "")


def loss(values):
    return (math.log10(values["optimizer.lr"]) - BEST_LOG_RATE) ** 2


def proposals(algorithm, count, known=()):
    """What a searcher that learns proposes, told of each loss, one after the other."""
    wanted = TuneSpec(algorithm, SPACE)
    learner = searcher(wanted, "min", 1, list(known))
    learner.set_search_properties(VALUE, "min", param_space(wanted, ORDER))
    found = []
    for number in range(count):
        values = learner.suggest(str(number))["values"]
        found.append(values)
        learner.on_trial_complete(str(number), {VALUE: loss(values)})
    return found


@pytest.mark.parametrize("algorithm", ["tpe", "cma_es"])
def test_who_learns_comes_nearer_to_the_best_and_stays_in_the_space(algorithm):
    found, space = proposals(algorithm, 60), parse_space(SPACE)
    assert all(space[key].holds(value) for values in found for key, value in values.items())
    losses = [loss(values) for values in found]
    assert statistics.median(losses[-20:]) < 0.3 * statistics.median(losses[:10])


def test_what_is_known_from_before_is_learned_from():
    generator, space = random.Random(0), parse_space(SPACE)
    drawn = [{key: span.draw(generator) for key, span in space.items()} for _ in range(60)]
    told, untold = proposals("tpe", 10, [(values, loss(values)) for values in drawn]), proposals("tpe", 10)
    assert statistics.median(map(loss, told)) < 0.1 * statistics.median(map(loss, untold))


def trial(config):
    """Ten graces, from where it was paused."""
    from ray import tune

    before = tune.get_checkpoint()
    begin = 0 if before is None else int(Path(before.path, "grace").read_text())
    for grace in range(begin + 1, 11):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "grace").write_text(str(grace))
            figures = {VALUE: loss(config["values"]) + 1.0 / grace, GRACES: grace}
            tune.report(figures, checkpoint=tune.Checkpoint.from_directory(folder))


@pytest.fixture(scope="module")
def ray():
    import ray

    found_by_workers = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parent)])
    options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init(address="local", num_cpus=2, runtime_env={"env_vars": {"PYTHONPATH": found_by_workers}}, **options)
    yield ray
    ray.shutdown()


@pytest.mark.parametrize("algorithm", ["hyperband", "median"])
def test_a_scheduler_spends_less_and_trains_the_best_to_its_end(algorithm, ray, tmp_path, monkeypatch):
    from ray import tune

    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    wanted = TuneSpec(algorithm, SPACE, budget=BudgetSpec(trials=9), grace=0.1)
    tuner = tune.Tuner(
        tune.with_resources(trial, {"CPU": 1}),
        param_space=param_space(wanted, ORDER),
        tune_config=tune.TuneConfig(
            metric=VALUE, mode="min", search_alg=searcher(wanted, "min", 2, []), scheduler=scheduler(wanted), num_samples=9, reuse_actors=True
        ),
        run_config=tune.RunConfig(name="s", storage_path=str(tmp_path), verbose=0),
    )
    spent = {json_of(trial): trial.last_result[GRACES] for trial in tuner.fit()._experiment_analysis.trials}
    best = min(spent, key=lambda values: loss(dict(values)))
    assert spent[best] == 10 and len(spent) == 9
    assert sum(spent.values()) < 9 * 10 * 0.75


def json_of(trial):
    return tuple(trial.config["values"].items())
