"""conf/tune's algorithms, as Ray Tune's searchers and schedulers."""

from __future__ import annotations

import random
from typing import Any

from components.spec.schema import TuneSpec
from components.spec.space import Range, parse_space
from flows.adapters.tune_trial import GRACES, VALUE

_PREFIX = "values/"  # how Tune names what lies under `values`
_OPTUNA = ("tpe", "cma_es")


def param_space(wanted: TuneSpec, order: dict[str, Any]) -> dict[str, Any]:
    """Return what Tune draws each trial's `config` from: the order, alike for all, and `values`."""
    from ray import tune

    constant = {
        name: order[name]
        for name in ("root", "directory", "overrides", "command", "run_id", "stages", "population", "data", "address", "cluster", "tune")
    }
    if wanted.algorithm == "list":
        return {"order": constant, "values": tune.grid_search(list(wanted.configurations))}
    space = parse_space(wanted.space)
    if wanted.algorithm == "grid":
        return {"order": constant, "values": {key: tune.grid_search(span.grid(wanted.grid_points)) for key, span in space.items()}}
    return {"order": constant, "values": {key: _domain(span) for key, span in space.items()}}


def searcher(wanted: TuneSpec, mode: str, at_once: int, known: list[tuple[dict[str, Any], float]]) -> Any:
    """Return who proposes configurations. What is known from before is told to one who learns; the others begin with the best of it."""
    if wanted.algorithm in _OPTUNA:
        from optuna.samplers import CmaEsSampler, TPESampler
        from ray.tune.search.optuna import OptunaSearch

        sampler = (TPESampler if wanted.algorithm == "tpe" else CmaEsSampler)(seed=wanted.seed)
        points = [{f"{_PREFIX}{key}": value for key, value in values.items()} for values, _ in known]
        rewards = [value for _, value in known]
        return OptunaSearch(sampler=sampler, metric=VALUE, mode=mode, points_to_evaluate=points or None, evaluated_rewards=rewards or None)
    from ray.tune.search import BasicVariantGenerator

    points = [] if wanted.algorithm in ("list", "grid") else [{"values": values} for values, _ in known[:1]]
    most = 0 if pauses(wanted) else at_once  # 0: no limit
    return BasicVariantGenerator(points_to_evaluate=points or None, random_state=wanted.seed, constant_grid_search=True, max_concurrent=most)


def pauses(wanted: TuneSpec) -> bool:
    """Tell whether a scheduler has to know all of its trials from the beginning: it pauses some to let others catch up."""
    return wanted.algorithm in ("hyperband", "pbt")


def scheduler(wanted: TuneSpec) -> Any:
    """Return who stops, pauses or changes trials. Time is counted in graces, so that trials of other batch sizes compare."""
    from ray.tune import schedulers

    most = max(round(1.0 / wanted.grace), 1)
    if wanted.algorithm == "asha":
        return schedulers.ASHAScheduler(time_attr=GRACES, max_t=most, grace_period=1, reduction_factor=wanted.reduction)
    if wanted.algorithm == "hyperband":
        return schedulers.HyperBandScheduler(time_attr=GRACES, max_t=most, reduction_factor=wanted.reduction)
    if wanted.algorithm == "median":
        return schedulers.MedianStoppingRule(time_attr=GRACES, grace_period=1.0, min_samples_required=3)
    if wanted.algorithm == "pbt":
        return _population_based(wanted)
    return schedulers.FIFOScheduler()


def _population_based(wanted: TuneSpec) -> Any:
    from ray.tune.schedulers import PopulationBasedTraining

    space = parse_space(wanted.space)

    def into_range(config: dict[str, Any]) -> dict[str, Any]:
        """Perturbation multiplies; what falls out of its range comes back to its end."""
        config["values"] = {key: space[key].nearest(value) for key, value in config["values"].items()}
        return config

    mutations = {"values": {key: list(span.values) if span.kind == "choice" else _drawn(span, wanted.seed) for key, span in space.items()}}
    # In step: who exploits whom must not depend on who happened to be faster.
    return PopulationBasedTraining(
        time_attr=GRACES, perturbation_interval=1.0, hyperparam_mutations=mutations, custom_explore_fn=into_range, require_attrs=False, synch=True
    )


def _drawn(span: Range, seed: int) -> Any:
    generator = random.Random(seed)
    return lambda: span.draw(generator)


def _domain(span: Range) -> Any:
    from ray import tune

    if span.kind == "choice":
        return tune.choice(list(span.values))
    low, high = span.values
    if "integer" in span.kind:  # Tune's upper bound is not included
        return (tune.lograndint if span.kind.startswith("log") else tune.randint)(low, high + 1)
    return (tune.loguniform if span.kind.startswith("log") else tune.uniform)(low, high)
