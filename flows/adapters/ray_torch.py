"""Torch's process group for Ray's workers, as Ray's `TorchConfig` makes it, but torch is imported by the workers alone.

`ray.train.torch` imports torch where the trainer is made and once more in its controller, one after the other, before the first worker starts:
seconds at each start, in two processes that never touch a tensor. What a worker does is Ray's own (Train V2, 2.60).
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ray.train._internal.utils import get_address_and_port
from ray.train.backend import Backend, BackendConfig

_LEAVE_SECONDS = 5.0


@dataclass
class WorkersTorch(BackendConfig):  # type: ignore[misc]
    """How the workers of a group find each other.

    Attributes:
        timeout_seconds: that a collective waits for the others.
    """

    timeout_seconds: int

    @property
    def backend_cls(self) -> type[Backend]:
        return _WorkersTorch

    @property
    def train_func_context(self) -> Any:
        return _on_own_device


class _WorkersTorch(Backend):  # type: ignore[misc]
    share_cuda_visible_devices = True  # NCCL sees the devices of its host

    def on_start(self, worker_group: Any, backend_config: WorkersTorch) -> None:
        import ray

        gpus = worker_group.get_resources_per_worker().get("GPU", 0)
        address, port = worker_group.execute_single(0, get_address_and_port)
        world, backend = len(worker_group), "nccl" if gpus else "gloo"
        common = (world, address, port, backend, backend_config.timeout_seconds)
        ray.get([worker_group.execute_single_async(rank, _join, rank, *common) for rank in range(world)])

    def on_shutdown(self, worker_group: Any, backend_config: WorkersTorch) -> None:
        import ray

        left = worker_group.execute_async(_leave, of_several=len(worker_group) > 1)
        ray.wait(left, num_returns=len(left), timeout=_LEAVE_SECONDS)  # one that hangs is ended with its process


def _join(rank: int, world: int, address: str, port: int, backend: str, timeout_seconds: int) -> None:
    from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group

    os.environ |= {"MASTER_ADDR": address, "MASTER_PORT": str(port)}
    _set_torch_distributed_env_vars()
    _setup_torch_process_group(backend, rank, world, "env://", timeout_seconds)


def _leave(of_several: bool) -> None:
    from ray.train.torch.config import _shutdown_torch

    _shutdown_torch(destroy_process_group=of_several)


def _on_own_device() -> AbstractContextManager[Any]:
    from ray.train.torch.config import TorchConfigContextManager

    found: AbstractContextManager[Any] = TorchConfigContextManager()
    return found
