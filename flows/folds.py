"""`folds=10`: each fold of a data set as a run, trained several at a time, and the spread of what they measured.

A fold is the very run that `modelyard run ... data.prepare.fold=3` makes: what the store holds of it is reused, and that command finds it done.
"""

from __future__ import annotations

import inspect
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from components.errors import RunError, UserError
from components.files import digest
from components.spec.schema import Spec, TuneSpec
from components.spec.targets import resolve
from flows import stages
from flows.compose import compose
from flows.lease import write_holder
from flows.repeat import gather
from flows.run import PipelineRun
from flows.search.values import overrides_of
from flows.upstream import NEEDED, finished
from flows.workers import start_workers

FOLD, FOLDS = "data.prepare.fold", "data.prepare.folds"
_TRAINED = (*NEEDED, "evaluate")


@dataclass(frozen=True)
class Fold:
    """One fold: which one it is, as values over the command's overrides, and its run."""

    values: dict[str, int]
    run: PipelineRun

    @property
    def number(self) -> int:
        """From 0."""
        return self.values[FOLD]

    @property
    def done(self) -> bool:
        """Whether its run has come to its end."""
        return stages.STAGES[-1] in self.run.done

    def finish(self) -> bool:
        """Take it from the store, and draw its report where that is all that is missing. False: something has to be trained or evaluated."""
        run = self.run
        if run.reuse_all():
            return True
        decisions = stages.decide(run.spec, run.store, finished(run.root, run.spec, run.store))
        if any(d.manifest is None for d in decisions if d.stage in _TRAINED):
            return False
        run.work_with(start_workers(replace(run.spec.cluster, backend="inline"), run.store.mailboxes))  # there is no work for others
        with run:
            for stage in stages.order(run.spec):
                run.stage(stage)
        return True


def train_folds(run: PipelineRun) -> dict[str, Any]:
    """Train and evaluate the folds that are missing, several at a time as the cluster holds them, each by one worker.

    Args:
        run: of the command; none of its own stages is done, only those of the folds.

    Returns:
        As `repeat`, with `headline`, the metric that the folds are judged by, and the path of the `page`.

    Raises:
        UserError: the data set has no such folds, the cluster holds not one training, or all that was missing was refused.
        RunError: some folds failed. The others are kept, and the same command goes on with those.
    """
    folds = open_folds(run)
    missing = [fold for fold in folds if not fold.finish()]
    reasons = _train(run, folds, missing) if missing else {}
    failed = [fold for fold in missing if not fold.done and not fold.finish()]
    if failed:
        told = "\n".join(f"  fold {fold.number}: {reasons.get(fold.number, 'it did not come to its end')}" for fold in failed)
        kept = f"the other {len(folds) - len(failed)} are kept, and the same command goes on with what is missing"
        raise RunError(f"{len(failed)} of {len(folds)} folds failed:\n{told}\n{kept}")
    return _gather(run, folds)


def finished_folds(run: PipelineRun) -> dict[str, Any] | None:
    """Return what `train_folds` does where the store holds every fold; None, and nothing is started, where one is missing."""
    folds = open_folds(run)
    return _gather(run, folds) if all(fold.finish() for fold in folds) else None


def open_folds(run: PipelineRun) -> list[Fold]:
    """Compose a run for each fold of the data.

    Raises:
        UserError: the data set has no such folds, or the overrides name one of them.
    """
    base = single_overrides(run.root, run.overrides)
    found = []
    for values in fold_values(run.spec):
        overrides = [*base, *overrides_of(values)]
        quiet = PipelineRun(run.root, compose(run.root, overrides), overrides, run.command, run.store, lambda line: None, run.follow)
        found.append(Fold(values, quiet))
    return found


def single_overrides(root: Path, overrides: Sequence[str]) -> list[str]:
    """Return the overrides of one training: without `folds`, whether they or the experiment's file ask for it.

    Raises:
        UserError: they choose a fold.
    """
    keys = {word.lstrip("+").partition("=")[0]: word for word in overrides}
    if FOLD in keys:
        raise UserError(f"{FOLD} chooses one fold, folds trains all", received=keys[FOLD], mend="leave one of the two out")
    words = [word for word in overrides if word != keys.get("folds")]
    return words if compose(root, words).folds is None else [*words, "folds=null"]


def fold_values(spec: Spec) -> list[dict[str, int]]:
    """Return what chooses each of the `folds`: values of the data's reader.

    Raises:
        UserError: the reader knows no folds, or has another number of them.
    """
    count, reader = spec.folds, resolve(spec.data.prepare.name)
    assert count is not None
    parameters = inspect.signature(reader).parameters
    if "fold" not in parameters:
        raise UserError(
            f"the data set {spec.data.name} has no folds",
            received=f"folds={count}",
            expected="a reader that takes `fold`, such as read_table or read_tu_graphs",
            mend=f"`modelyard repeat experiment={spec.experiment} --over seed=0..{count - 1}` tells the spread over seeds",
        )
    if "folds" in parameters:
        return [{FOLD: i, FOLDS: count} for i in range(count)]
    fixed = getattr(inspect.getmodule(reader), "FOLDS", count)
    if fixed != count:
        raise UserError(f"the folds of {spec.data.name} are fixed", received=f"folds={count}", expected=f"folds={fixed}")
    return [{FOLD: i} for i in range(count)]


def _train(run: PipelineRun, folds: list[Fold], missing: list[Fold]) -> dict[int, str]:
    """Have the missing folds trained and evaluated, and finish each as it comes. Returns why some failed, by number."""
    from flows.adapters import tune

    by_number, reasons = {fold.number: fold for fold in missing}, dict[int, str]()

    def on_event(event: dict[str, Any]) -> None:
        fold = by_number[event["values"][FOLD]]
        if event["kind"] == "begin":
            run.announce(f"fold {fold.number}: begun")
        elif event["kind"] == "end" and fold.finish():
            metric = headline(fold)
            run.announce(f"fold {fold.number}: {metric} {_measured(fold)[metric]:.4g}")
        elif event["kind"] == "error":
            reasons[fold.number] = event["reason"]
            run.announce(f"fold {fold.number} failed: {event['reason']}")

    run.announce(f"{len(missing)} of {len(folds)} folds to train")
    folder = run.store.mailboxes / uuid.uuid4().hex[:12]  # which whoever comes next removes, should this process be killed
    write_holder(folder / "driver.json")
    base = single_overrides(run.root, run.overrides)
    listed = replace(run.spec, folds=None, tune=TuneSpec("list", configurations=tuple(fold.values for fold in missing)))
    group = f"{run.spec.experiment.replace('/', '-')}-folds-{digest([base, len(folds)], 10)}"
    try:
        tune.search(folder, tune.Asked(run.root, listed, base, run.command, group, _TRAINED, folder, []), on_event)
    except UserError:
        if not reasons or not any(fold.done for fold in folds):  # not of one fold, but of all
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return reasons


def _gather(run: PipelineRun, folds: list[Fold]) -> dict[str, Any]:
    """Write down the spread, as `modelyard repeat` over the same folds does, and draw its page beside it."""
    from components.reporting.folds import render_folds

    overrides = [*single_overrides(run.root, run.overrides), *overrides_of({key: v for key, v in folds[0].values.items() if key != FOLD})]
    runs = [{"value": str(fold.number), "run_id": fold.run.run_id, "metrics": fold.run.metrics} for fold in folds]
    result = gather(run, overrides, f"{FOLD}=0..{len(folds) - 1}", runs)
    page = Path(result["path"]).with_suffix(".html")
    result |= {"data": run.spec.data.title, "headline": headline(folds[0]), "page": str(page)}
    render_folds(result, page)
    return result


def headline(fold: Fold) -> str:
    """Return the metric that folds are judged by: what is expected of them first, else what they monitor, of the test where it was measured."""
    spec, measured = fold.run.spec, _measured(fold)
    monitored = spec.trainer.monitor.metric
    wanted = [*(wish.metric for wish in spec.expect), f"test/{monitored.partition('/')[2]}", monitored]
    return next((metric for metric in wanted if metric in measured), next(iter(measured)))


def _measured(fold: Fold) -> dict[str, float]:
    return {f"{split}/{name}": value for split, found in fold.run.metrics.items() for name, value in found.items()}
