"""Bring automations.yaml to a Prefect server: what is new is created, what is there is brought up to date, nothing is made twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.data.params import read_yaml
from infra.prefect.api import Api

FILE = Path(__file__).with_name("automations.yaml")


def apply(api: Api, file: Path = FILE) -> Iterator[str]:
    """Create or update each automation of a file; yield a line about each.

    An action may name a `deployment` (flow/deployment), where Prefect wants an id. An automation whose deployment the server has not is left out
    with a line that says so.

    Raises:
        RunError: the server refuses one.
    """
    there = {found["name"]: found["id"] for found in api.ask("POST", "automations/filter", {})}
    for automation in read_yaml(file)["automations"]:
        name, missing = automation["name"], _resolve(api, automation)
        if missing:
            yield f"automation {name}: left out, the server has no deployment {missing}; deploy it (`prefect deploy --all`) and run this again"
        elif name in there:
            api.ask("PUT", f"automations/{there[name]}", automation)
            yield f"automation {name}: up to date"
        else:
            api.ask("POST", "automations/", automation)
            yield f"automation {name}: created"


def _resolve(api: Api, automation: dict[str, Any]) -> str:
    """Put ids in the place of deployments' names; return the first name that the server does not know."""
    for action in automation["actions"]:
        if "deployment" in action:
            name = action.pop("deployment")
            found = api.ask("GET", f"deployments/name/{name}")
            if found is None:
                return str(name)
            action |= {"source": "selected", "deployment_id": found["id"]}
    return ""
