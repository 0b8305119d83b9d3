"""W&B's key. It is never shown."""

from __future__ import annotations

from components.spec.schema import TrackingSpec
from components.training.doctor.finding import Finding
from flows.adapters.wandb import tracking_mode
from flows.machine.machine import Machine


def wandb_key(machine: Machine) -> Finding:
    """Without a key runs are tracked offline; with one that cannot be a key they are refused."""
    mode = tracking_mode(TrackingSpec(), machine.environment)
    return Finding("ok", "WANDB_API_KEY has the form of a key" if mode == "online" else "no WANDB_API_KEY: runs are tracked offline")
