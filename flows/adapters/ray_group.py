"""Ray, the group's own process: a cluster, one trainer of Ray Train, and what its workers do. Protocol: flows/adapters/ray.py.

Ray restarts a group whose worker died, or that nodes have joined; the new workers take the unfinished job again, and the job resumes from its
own last checkpoint. Checkpoints are never handed to Ray, so its controller cannot forget one (docs/architecture.md, section 5).
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.errors import Interrupted, UserError
from components.files import read_json, write_json
from components.spec.parse import parse
from components.spec.schema import ClusterSpec
from components.training.notices import Notice
from components.training.ownership import Ownership
from flows.adapters.ray import LEFT, OBJECT_STORE_BYTES, RESIZE, WRITER, failure, is_final, require_resources
from flows.adapters.ray_lean import lean_cluster, lean_trainer

_POLL_SECONDS = 0.05
_END_SECONDS = 5.0
_PLACE_SECONDS = 10  # that an elastic group waits for the places it counted: Ray counts every 20 s, so those of a host that was just lost too
_LOOK_SECONDS = 0.5  # between two looks at the driver's stop file, which may lie on a network


def main(mailbox: Path) -> int:
    """Hold a worker group until its mailbox is closed, its driver is gone, or it is told to end."""
    cluster = parse(ClusterSpec, read_json(mailbox / "cluster.json"), "cluster")
    driver = os.getppid()
    told = threading.Event()
    group = threading.Thread(target=_hold, args=(cluster, mailbox), daemon=True)
    group.start()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    while group.is_alive() and not told.is_set() and os.getppid() == driver:
        local_and_done = cluster.address is None and (mailbox / "closed").exists() and _idle(mailbox)
        if local_and_done:  # nobody else needs this cluster: no need to wait until the trainer has tidied it
            break
        group.join(_POLL_SECONDS)
    shut_down()
    # Ray's threads may still be inside a call that the shutdown cut off; what they would say no longer matters.
    sys.stdout.flush()
    os._exit(1 if (mailbox / "group.failed.json").exists() else 0)


def _hold(cluster: ClusterSpec, mailbox: Path) -> None:
    try:
        _connect(cluster)
        _require_places(cluster)
        persist(lambda: _fit(cluster, mailbox), cluster.max_failures, mailbox)
    except BaseException as error:
        if mailbox.exists() and not (mailbox / "group.failed.json").exists():
            write_json(mailbox / "group.failed.json", failure(error, traceback.format_exc()))


def _fit(cluster: ClusterSpec, mailbox: Path) -> None:
    import ray

    if not ray.is_initialized():  # begun anew: nodes that were lost meanwhile are waited for
        _connect(cluster)
    _trainer(cluster, mailbox).fit()


def shut_down() -> None:
    """Disconnect, and end what a cluster of our own leaves behind: workers that were just starting would look for their raylet for a while."""
    import psutil
    import ray

    ours = psutil.Process().children(recursive=True)
    if ray.is_initialized():
        ray.shutdown()
    for process in ours:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(ours, timeout=_END_SECONDS)


def _idle(mailbox: Path) -> bool:
    return all(p.with_suffix(".done").exists() for p in mailbox.glob("job_???.json"))


def _connect(cluster: ClusterSpec) -> None:
    local = cluster.address is None
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    if local:  # a cluster of our own is not preempted; the watcher would be one more process to start
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        lean_cluster()
    if cluster.min_workers is not None:
        os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(_PLACE_SECONDS))
    import ray

    options: dict[str, Any] = {"address": "local" if local else cluster.address, "logging_level": logging.WARNING, "log_to_driver": False}
    if local:
        port = cluster.dashboard_port
        options |= {"num_cpus": os.cpu_count(), "include_dashboard": port is not None, "object_store_memory": OBJECT_STORE_BYTES}
        options |= {"dashboard_port": port, "dashboard_host": "127.0.0.1"} if port is not None else {}
    try:
        ray.init(**options)
    except ConnectionError as error:
        raise UserError(
            "no Ray cluster answers",
            received=f"cluster.address={cluster.address} ({error})",
            mend="start one (`ray start --head`), or choose cluster=local",
        ) from error


def _require_places(cluster: ClusterSpec) -> None:
    import ray

    require_resources(cluster, ray.cluster_resources())


def persist(fit: Callable[[], Any], failures: int, mailbox: Path) -> None:
    """Have the group work, begun anew as often as it may fail: Ray restarts one that ran, but not one whose workers did not find each other.

    Raises:
        ray.train.TrainingFailedError: it failed once more, or was given up (ray_callbacks.py).
    """
    import ray.train

    for left in reversed(range(failures + 1)):
        try:
            fit()
            return
        except ray.train.ControllerError:
            if left == 0 or (mailbox / "group.failed.json").exists():
                raise
        # The failed group keeps its workers' places as long as this connection lives: the next would wait for them for ever.
        ray.shutdown()


def _trainer(cluster: ClusterSpec, mailbox: Path) -> Any:
    import ray.train
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    from flows.adapters.ray_torch import WorkersTorch

    resources = {"CPU": cluster.cpus_per_worker} | ({"GPU": cluster.gpus_per_worker} if cluster.gpus_per_worker else {})
    trainer = DataParallelTrainer(
        serve,
        train_loop_config={"mailbox": str(mailbox)},
        backend_config=WorkersTorch(math.ceil(cluster.collective_timeout_seconds)),
        scaling_config=ray.train.ScalingConfig(
            num_workers=cluster.workers if cluster.min_workers is None else (cluster.min_workers, cluster.workers),
            use_gpu=cluster.gpus_per_worker > 0,
            resources_per_worker=resources,
            elastic_resize_monitor_interval_s=cluster.resize_every_seconds,
        ),
        run_config=ray.train.RunConfig(
            name="group",
            storage_path=str(mailbox / "ray"),
            failure_config=ray.train.FailureConfig(max_failures=cluster.max_failures),
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
            callbacks=_callbacks(cluster, mailbox),
        ),
    )
    if cluster.address is None:
        lean_trainer(trainer)
    return trainer


def _callbacks(cluster: ClusterSpec, mailbox: Path) -> list[Any]:
    """What several hosts need; a cluster of our own is one host, and its nodes are there or not."""
    from flows.adapters.ray_callbacks import GiveUp, OwnAddress, SaveFirst

    if cluster.address is None:
        return []
    workers = f"{cluster.workers} workers" if cluster.min_workers is None else f"{cluster.min_workers} to {cluster.workers} workers"
    return [OwnAddress(), SaveFirst(mailbox, cluster.collective_timeout_seconds), GiveUp(mailbox, cluster.start_timeout_seconds, workers)]


class RaySession:
    """The worker's view inside Ray Train."""

    def __init__(self, mailbox: Path) -> None:
        import ray.train
        import ray.train.torch

        from flows.adapters.ray_data import ray_data

        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world: int = context.get_world_size()
        self.device = ray.train.torch.get_device()
        self.stream = ray_data
        self._leave, self._looked, self._told = (mailbox / "stop", mailbox / RESIZE), 0.0, Notice.NONE
        self._preemption: Any = None

    def notice(self) -> Notice:
        """A node that Ray is about to lose: save once, go on (Ray restarts the group elsewhere). The mailbox says stop or resize: leave."""
        preemption = _preemption_notice()
        if preemption is not None and preemption is not self._preemption:
            self._preemption = preemption
            return Notice.SAVE
        now = time.monotonic()
        if self._told is Notice.NONE and now - self._looked > _LOOK_SECONDS:
            self._looked = now
            self._told = Notice.STOP if any(file.exists() for file in self._leave) else Notice.NONE
        return self._told


def _preemption_notice() -> Any:
    """What this worker was told of a preemption.

    Ray's public `get_preemption_info` is a barrier, milliseconds at every step; here the ranks agree in the collective that they have anyway.
    """
    from ray.train.v2._internal.execution.context import get_train_context

    return get_train_context().preemption_context.preemption_info


def serve(config: dict[str, Any]) -> None:
    """What each Ray worker runs: one job after another until the mailbox is closed."""
    from components.training.jobs import JOBS  # imports torch and the data room before the first job asks for them
    from components.training.session import gather

    mailbox = Path(config["mailbox"])
    session = RaySession(mailbox)
    token = gather(session, claim(mailbox) if session.rank == 0 else "")[0]
    number = _first_unfinished(mailbox)
    while (letter := _wait_for_job(mailbox, number)) is not None:
        ours = Ownership(mailbox / WRITER, token, Ownership.of(letter["config"].get("owner")))
        try:
            JOBS[letter["job"]](session, {**letter["config"], "owner": ours.plain()})
        except (Exception, Interrupted) as error:
            if isinstance(error, Interrupted) and not (mailbox / "stop").exists():
                break  # for a group of another size, which takes the job again
            if ours.holds():
                _record_failure(mailbox, number, session.rank, error)
            raise
        gather(session, None)  # a barrier: done means that every rank has finished
        if session.rank == 0:
            (mailbox / f"job_{number:03d}.done").touch()
        number += 1
    if session.rank == 0 and (mailbox / RESIZE).exists():
        (mailbox / LEFT).touch()


def claim(mailbox: Path) -> str:
    """Make the work these workers' own and return their token: those before them, on a host that was cut off, may live on and reach the store."""
    token = uuid.uuid4().hex
    write_json(mailbox / WRITER, {"token": token})
    return token


def _first_unfinished(mailbox: Path) -> int:
    number = 0
    while (mailbox / f"job_{number:03d}.done").exists():
        number += 1
    return number


def _wait_for_job(mailbox: Path, number: int) -> dict[str, Any] | None:
    """Return the next job, or None when there will be none for these workers, or when it has already failed for good."""
    path, failed = mailbox / f"job_{number:03d}.json", mailbox / f"job_{number:03d}.failed.json"
    while not path.exists():
        if (mailbox / "closed").exists() or (mailbox / RESIZE).exists() or not mailbox.exists():
            return None
        time.sleep(_POLL_SECONDS)
    if failed.exists():  # of an attempt before a restart
        if is_final(failed):
            return None
        failed.unlink(missing_ok=True)
    letter: dict[str, Any] = read_json(path)
    return letter


def _record_failure(mailbox: Path, number: int, rank: int, error: BaseException) -> None:
    """The first to fail is the cause; the others fail because it left."""
    path = mailbox / f"job_{number:03d}.failed.json"
    if not path.exists():
        write_json(path, failure(error, traceback.format_exc(), rank))


if __name__ == "__main__":
    # Run as an importable module, not as __main__: Ray's workers look `serve` up by its module's name.
    from flows.adapters import ray_group

    sys.exit(ray_group.main(Path(sys.argv[1])))
