"""`modelyard repeat`: one experiment over several seeds, folds or data sets, and the spread of what was measured."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from typing import Any

from components.errors import UserError
from components.files import digest, write_json
from flows import stages
from flows.open import open_run
from flows.run import PipelineRun

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")


def repeat(overrides: list[str], over: str, announce: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Run the pipeline once for each value of a key, one after the other; what the store holds is reused.

    Args:
        overrides: Hydra overrides of all runs.
        over: `key=values`, values `0..9` or `a,b,c`.
        announce: takes one line for the person who watches.

    Returns:
        `runs` [{value, run_id, metrics}], `spread` {split: {metric: {mean, deviation, minimum, maximum, count}}}, `path` of the same as a file.
        The deviation is the sample's (n - 1).

    Raises:
        UserError: `over` is malformed, a run refuses its configuration, or asks for folds.
    """
    key, values = parse_over(over)
    runs: list[dict[str, Any]] = []
    for value in values:
        announce(f"{key}={value}")
        run = open_run([*overrides, f"{key}={value}"], f"modelyard repeat {' '.join(overrides)} --over {over}", announce)
        if run.spec.folds is not None:
            raise UserError("repeat trains one after the other, folds all at once", received=f"folds={run.spec.folds}", mend="set folds=null")
        if not run.reuse_all():
            with run:
                run.warm_if_local()
                for stage in stages.order(run.spec):
                    run.stage(stage)
        runs.append({"value": value, "run_id": run.run_id, "metrics": run.metrics})
    return gather(run, overrides, over, runs)


def gather(run: PipelineRun, overrides: list[str], over: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Add the spread to what runs measured, and write it down in the store.

    Args:
        run: one of them, or of the command that asked for them.
        overrides, over: as in `repeat`.
        runs: `[{value, run_id, metrics}]`.

    Returns:
        As `repeat`.
    """
    result = {"experiment": run.spec.experiment, "overrides": overrides, "over": over, "runs": runs, "spread": spread([r["metrics"] for r in runs])}
    path = run.store.root / "repeats" / f"{run.spec.experiment.replace('/', '-')}-{digest([overrides, over], 10)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, result)
    return {**result, "path": str(path)}


def parse_over(over: str) -> tuple[str, list[str]]:
    """Return the key and its values.

    Raises:
        UserError: there is no key, no value, or a value twice.
    """
    key, _, text = over.partition("=")
    match = _RANGE.fullmatch(text)
    values = [str(v) for v in range(int(match[1]), int(match[2]) + 1)] if match else [v for v in text.split(",") if v]
    if not key or not values or len(set(values)) < len(values):
        raise UserError("--over does not say what to repeat over", received=over, expected="key=values, such as seed=0..9 or data.prepare.fold=0,3,5")
    return key, values


def spread(measured: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return mean, sample deviation (0 of a single run), minimum, maximum and count of every metric that all runs have."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for split in measured[0]:
        names = [name for name in measured[0][split] if all(name in run.get(split, {}) for run in measured)]
        found[split] = {name: _figures([run[split][name] for run in measured]) for name in names}
    return found


def _figures(values: list[float]) -> dict[str, float]:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "deviation": deviation, "minimum": min(values), "maximum": max(values), "count": len(values)}


def repeat_text(result: dict[str, Any]) -> str:
    """The spread as a table for people."""
    lines = [f"{result['experiment']} over {result['over']}: {len(result['runs'])} runs", ""]
    lines.append(f"  {'metric':<44}  {'mean':>10}  {'deviation':>10}  {'minimum':>10}  {'maximum':>10}")
    for split, metrics in result["spread"].items():
        for name, f in metrics.items():
            figures = "  ".join(f"{f[part]:>10.4f}" for part in ("mean", "deviation", "minimum", "maximum"))
            lines.append(f"  {split + '/' + name:<44}  {figures}")
    return "\n".join([*lines, "", *(f"  {result[kind]}" for kind in ("path", "page") if kind in result)])
