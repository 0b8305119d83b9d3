"""What Ray starts beside our workers and a cluster of our own has no use for: left out, seconds of a core and of waiting at each start.

Ray has no switch for the actors: the list of callbacks that makes them is a trainer's private method (Train V2, 2.60).
"""

from __future__ import annotations

import os
from typing import Any


def lean_cluster() -> None:
    """Have a cluster that this process starts begin no workers unasked: what we start brings an environment of its own, and takes none of those."""
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")


def lean_trainer(trainer: Any) -> None:
    """Make a trainer on a cluster of our own start no manager of Ray's data sets (it gets none), and no cleaner of a cluster that outlives it."""
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
    from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

    idle, made = (DatasetsCallback, PlacementGroupCleanerCallback), trainer._create_default_callbacks
    trainer._create_default_callbacks = lambda: [callback for callback in made() if not isinstance(callback, idle)]
