"""Bring automations.yaml to a Prefect server: what is new is created, what is there is brought up to date, nothing is made twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from components.data.params import read_yaml
from infra.prefect.api import Api

FILE = Path(__file__).with_name("automations.yaml")


def apply(api: Api, file: Path = FILE) -> Iterator[str]:
    """Create or update each automation of a file; yield a line about each.

    Raises:
        RunError: the server refuses one.
    """
    there = {found["name"]: found["id"] for found in api.ask("POST", "automations/filter", {})}
    for automation in read_yaml(file)["automations"]:
        name = automation["name"]
        if name in there:
            api.ask("PUT", f"automations/{there[name]}", automation)
            yield f"automation {name}: up to date"
        else:
            api.ask("POST", "automations/", automation)
            yield f"automation {name}: created"
