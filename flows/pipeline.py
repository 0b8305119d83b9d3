"""The Prefect flow: data -> check -> (tune ->) train -> evaluate -> report. Thin tasks over flows/run.py; Prefect caches nothing, the store does.

`define` makes a flow around a run that the command line has already opened (its workers are starting); the module's `pipeline` opens its own
and is what deployments name (prefect.yaml).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import Flow, Task, flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run

from components.errors import UserError
from flows import stages
from flows.folds import train_folds
from flows.open import open_run
from flows.run import PipelineRun


def define(opened: PipelineRun | None = None) -> Flow[..., dict[str, Any]]:
    """Make the pipeline flow, around an opened run or one of its own."""

    @flow(name="pipeline")
    def pipeline(overrides: list[str] | None = None) -> dict[str, Any]:
        """Take a data version and a configuration to a trained, evaluated and reported model, or to one for each of its `folds`.

        Args:
            overrides: Hydra overrides, such as ["experiment=cnn/lenet5", "trainer.duration=5ep"].
        """
        with opened or open_run(overrides or [], command=f"prefect deployment, overrides {overrides or []}") as run:
            _tell_prefect_too(run)
            run.flow_run_id = flow_run.id
            if run.spec.folds is not None:
                result = folds_task(run)()
                publish_folds(result)
                return result
            for name in stages.order(run.spec):
                stage_task(run, name)()
            publish(run)
            return run.result()

    return pipeline


def _tell_prefect_too(run: PipelineRun) -> None:
    """Send each line for the person who watches to the flow run's log as well."""
    show, log = run.announce, get_run_logger()

    def both(line: str) -> None:
        show(line)
        log.info(line)

    run.announce = both


def stage_task(run: PipelineRun, name: str) -> Task[[], dict[str, Any]]:
    """Make the task of one stage. Only data is tried again: a network can recover; training recovers by itself, the rest is deterministic."""

    @task(name=name, cache_policy=NO_CACHE, retries=2 if name == "data" else 0, retry_delay_seconds=5, retry_condition_fn=_may_recover)
    def stage() -> dict[str, Any]:
        result = run.stage(name)
        return {"status": result.status, "key": result.key}

    return stage


def folds_task(run: PipelineRun) -> Task[[], dict[str, Any]]:
    """Make the task that trains the folds of the data; what failed is left to the same command, which goes on with it."""

    @task(name="folds", cache_policy=NO_CACHE)
    def folds() -> dict[str, Any]:
        return train_folds(run)

    return folds


def _may_recover(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """A person's mistake does not mend itself by waiting."""
    error = state.result(raise_on_failure=False)
    return not isinstance(error, UserError)


def publish(run: PipelineRun) -> None:
    """Show the outcome in Prefect's pages: summary, metrics table, link to the report."""
    from components.reporting.summary import summary_markdown

    key = run.run_id.lower().replace("_", "-")
    rows = [{"split": split, "metric": name, "value": value} for split, found in run.metrics.items() for name, value in found.items()]
    create_markdown_artifact(key=f"{key}-summary", markdown=summary_markdown(Path(run.report).parent / "run"))
    create_table_artifact(key=f"{key}-metrics", table=rows)
    create_link_artifact(key=f"{key}-report", link=Path(run.report).as_uri(), link_text="report")


def publish_folds(result: dict[str, Any]) -> None:
    """Show the spread over the folds in Prefect's pages: a table of every metric, and a link to the page."""
    key = f"{result['experiment']}-folds".lower().replace("/", "-").replace("_", "-")
    rows = [{"split": split, "metric": name, **figures} for split, found in result["spread"].items() for name, figures in found.items()]
    create_table_artifact(key=f"{key}-metrics", table=rows)
    create_link_artifact(key=f"{key}-page", link=Path(result["page"]).as_uri(), link_text="folds")


pipeline = define()
