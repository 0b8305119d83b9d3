"""The Prefect flow that looks for drift, and the event that asks for retraining: prefect.yaml's deployment `nightly` listens to it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event

from flows.drift.look import look, looks_text

EVENT = "modelyard.drift.detected"


@flow(name="drift")
def drift(models: list[str] | None = None, overrides: list[str] | None = None) -> list[dict[str, Any]]:
    """Compare the newest data with what each champion was trained on; where they have drifted, ask for retraining, once for each data version.

    Args:
        models: names from conf/nightly.yaml; none: all of them.
        overrides: Hydra overrides over those of each model.
    """
    looks = look(models or [], overrides or [], get_run_logger().info)
    create_markdown_artifact(key="drift", markdown=f"```\n{looks_text(looks)}\n```")
    for one in looks:
        if one.retrain:
            payload = {"model": one.model, "reference": one.reference, "newest": one.newest, "why": one.why}
            emit_event(EVENT, resource={"prefect.resource.id": f"modelyard.model.{one.model}"}, payload=payload)
    return [asdict(one) for one in looks]
