"""Worker groups: who runs the jobs of components/training/jobs.py."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from components.spec.schema import ClusterSpec
from components.training.notices import Told, graceful


class Workers(Protocol):
    """A group of workers that runs one job after another."""

    def submit(self, job: str, config: dict[str, Any]) -> None:
        """Run a job of components.training.jobs.JOBS on every worker and return when all have finished.

        Raises:
            UserError: the job refused its input, or the cluster cannot hold the workers.
            RunError: the job failed.
            Interrupted: somebody asked it to leave, and it has saved where it stood.
        """

    def finish(self) -> None:
        """Say that no more jobs will come, without waiting."""

    def close(self) -> None:
        """Stop the workers, whatever they do, and wait until they are gone."""


def listening(job: str, told: Told | None) -> AbstractContextManager[Told]:
    """Signals ask training to save and leave, unless somebody else tells it; the other jobs have nothing to save and are simply aborted."""
    if job != "train":
        return nullcontext(Told())
    return graceful() if told is None else nullcontext(told)


class InlineWorkers:
    """One worker: this process."""

    def __init__(self, cluster: ClusterSpec, told: Told | None = None) -> None:
        self._gpus, self._told = cluster.gpus_per_worker, told

    def submit(self, job: str, config: dict[str, Any]) -> None:
        import torch

        from components.training.jobs import JOBS
        from components.training.session import LocalSession

        device = torch.device("cuda" if self._gpus else "cpu")
        with listening(job, self._told) as told:
            JOBS[job](LocalSession(device, told), config)

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass


def start_workers(cluster: ClusterSpec, mailboxes: Path, told: Told | None = None) -> Workers:
    """Begin to start a group of workers; returns at once, `submit` waits until they are up.

    Args:
        told: what training listens to; without it, Ctrl-C and SIGTERM.
    """
    if cluster.backend == "inline":
        return InlineWorkers(cluster, told)
    from flows.adapters.ray import RayWorkers

    return RayWorkers(cluster, mailboxes, told)
