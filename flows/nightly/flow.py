"""The Prefect flow of the night, which the deployments `nightly` and `weekly-search` name (prefect.yaml)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.events import emit_event

from components.errors import RunError
from flows.nightly.digest import digest_markdown
from flows.nightly.night import failed, night
from flows.pipeline import define
from flows.run import PipelineRun


@flow(name="nightly")
def nightly(models: list[str] | None = None, overrides: list[str] | None = None, reason: str = "schedule") -> dict[str, Any]:
    """Retrain what changed, judge it, promote it or not, and tell what happened.

    Args:
        models: names from conf/nightly.yaml; none: all of them.
        overrides: Hydra overrides over those of each model, such as ["tune=asha"].
        reason: why it runs, for the record: schedule, drift, by hand.
    """
    found = night(models or [], overrides or [], reason, _pipeline, get_run_logger().info, wait=True)
    create_markdown_artifact(key="nightly-digest", markdown=digest_markdown(found), description=f"night of {found['started']}")
    create_link_artifact(key="nightly-page", link=Path(found["page"]).as_uri(), link_text="digest")
    for outcome in found["outcomes"]:
        told = {name: outcome[name] for name in ("status", "run_id", "champion", "before", "gain", "reasons")}
        emit_event(f"modelyard.model.{outcome['status']}", resource={"prefect.resource.id": f"modelyard.model.{outcome['model']}"}, payload=told)
    if broken := failed(found):
        raise RunError(f"{len(broken)} of {len(found['outcomes'])} models failed: {', '.join(broken)}; the digest says why")
    return found


def _pipeline(run: PipelineRun) -> None:
    define(run)(overrides=run.overrides)
