"""The jobs that a worker group can run: top-level functions `(session, config: plain dict) -> plain dict`, the same on every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from components.training.evaluation import evaluate
from components.training.fit import train
from components.training.session import Session

JOBS: dict[str, Callable[[Session, dict[str, Any]], dict[str, Any]]] = {"train": train, "evaluate": evaluate}
