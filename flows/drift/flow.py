"""The Prefect flow that looks for drift, and the event that asks for retraining: prefect.yaml's deployment `nightly` listens to it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.events import Event
from prefect.events.clients import get_events_client
from prefect.events.schemas.events import Resource

from components.errors import RunError
from flows.drift.look import Look, ask, look, looks_text

EVENT = "modelyard.drift.detected"


@flow(name="drift")
def drift(models: list[str] | None = None, overrides: list[str] | None = None) -> list[dict[str, Any]]:
    """Compare the newest data with what each champion was trained on; where they have drifted, ask for retraining, once for each data version.

    Args:
        models: names from conf/nightly.yaml; none: all of them.
        overrides: Hydra overrides over those of each model.

    Raises:
        RunError: a model could not be looked at; for the others it was asked.
    """
    looks = look(models or [], overrides or [], get_run_logger().info)
    create_markdown_artifact(key="drift", markdown=f"```\n{looks_text(looks)}\n```")
    ask(looks, _emit)
    if broken := [one.model for one in looks if one.status == "failed"]:
        raise RunError(f"{len(broken)} of {len(looks)} models could not be looked at: {', '.join(broken)}; the artifact says why")
    return [asdict(one) for one in looks]


def _emit(wanted: list[Look]) -> None:
    """Send one event for all models: of two, the second night would be cancelled (prefect.yaml)."""
    told = [{"model": one.model, "reference": one.reference, "newest": one.newest, "why": one.why} for one in wanted]
    payload = {"models": [one.model for one in wanted], "looks": told}
    event = Event(event=EVENT, resource=Resource({"prefect.resource.id": "modelyard.drift"}), payload=payload)
    try:
        asyncio.run(_send(event))
    except Exception as error:
        raise RunError(f"retraining could not be asked for: the Prefect server did not take the event: {error!r}") from error


async def _send(event: Event) -> None:
    """Send an event and wait until the server has it: what was not sent must not be noted as asked for. (`emit_event` sends from a thread, and tells
    nobody of a failure.)"""
    async with get_events_client(checkpoint_every=1) as client:
        await client.emit(event)
