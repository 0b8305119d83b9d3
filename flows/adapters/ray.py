"""Ray: a cluster, and one `TorchTrainer` whose workers take jobs from a mailbox directory.

The trainer starts as soon as it is known that there will be something to train, so that its workers' imports (some ten seconds) run beside the
data stage; and evaluation runs on the same workers without a second start. The mailbox lies in the store, which all nodes see:

    job_000.json             {"job": name, "config": {...}}, written by the driver
    job_000.done             written by rank 0 when all ranks have finished the job
    job_000.failed.json      {"kind", "error", "rank"}, by the first rank that failed
    closed                   no more jobs: workers return

Ray restarts a group whose worker died; the new workers take the unfinished job again, and the job resumes from its own last checkpoint.
Checkpoints are never handed to Ray, so its controller cannot forget one (docs/architecture.md, section 5).
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
import traceback
import uuid
from pathlib import Path
from typing import Any

from components.errors import RunError, UserError
from components.files import read_json, write_json
from components.spec.schema import ClusterSpec

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
_CLOSE_SECONDS = 10.0


class RayWorkers:
    """Workers of one TorchTrainer on a Ray cluster, which is started here when `cluster.address` is null.

    Args:
        cluster: address, number of workers, resources of each.
        mailboxes: directory under which the group's own mailbox is made.
    """

    def __init__(self, cluster: ClusterSpec, mailboxes: Path) -> None:
        self.cluster = cluster
        self.mailbox = mailboxes / uuid.uuid4().hex[:12]
        self.mailbox.mkdir(parents=True)
        self._jobs = 0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ray-trainer", daemon=True)
        self._thread.start()

    def submit(self, job: str, config: dict[str, Any]) -> None:
        name = f"job_{self._jobs:03d}"
        self._jobs += 1
        write_json(self.mailbox / f"{name}.json", {"job": job, "config": config})
        while not (self.mailbox / f"{name}.done").exists():
            failed = self.mailbox / f"{name}.failed.json"
            if failed.exists() and (self._is_final(failed) or not self._thread.is_alive()):
                raise _as_error(read_json(failed))
            if not self._thread.is_alive():
                raise self._thread_error(job)
            time.sleep(_POLL_SECONDS)

    def finish(self) -> None:
        (self.mailbox / "closed").touch()

    def close(self) -> None:
        """Let idle workers return; then shut Ray down, which ends busy ones."""
        self.finish()
        import ray

        deadline = time.monotonic() + (_CLOSE_SECONDS if self._idle() else 0.0)
        while self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if ray.is_initialized():
            ray.shutdown()
        shutil.rmtree(self.mailbox, ignore_errors=True)

    def _idle(self) -> bool:
        return all((self.mailbox / f"job_{i:03d}.done").exists() for i in range(self._jobs))

    @staticmethod
    def _is_final(failed: Path) -> bool:
        """A refusal or a diagnosed failure would come again; only the unexpected is left to Ray's restarts."""
        return read_json(failed)["kind"] in ("UserError", "RunError")

    def _thread_error(self, job: str) -> Exception:
        if isinstance(self._error, UserError):
            return self._error
        reason = f"{type(self._error).__name__}: {self._error}" if self._error else "they returned early"
        return RunError(f"the Ray workers ended before the job '{job}' did. {reason}")

    def _run(self) -> None:
        try:
            self._connect()
            self._fit()
        except BaseException as error:  # carried to the main thread by submit
            self._error = error
            log.debug("the trainer thread ended", exc_info=True)

    def _connect(self) -> None:
        local = self.cluster.address is None
        os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
        if local:  # a cluster of our own is not preempted; the watcher would be one more process to start
            os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        import ray

        port = self.cluster.dashboard_port
        options: dict[str, Any] = {"address": "local" if local else self.cluster.address, "log_to_driver": False, "logging_level": logging.WARNING}
        if local:
            options |= {"num_cpus": os.cpu_count(), "include_dashboard": port is not None, "object_store_memory": 256 << 20}
            options |= {"dashboard_port": port, "dashboard_host": "127.0.0.1"} if port is not None else {}
        try:
            ray.init(**options)
        except ConnectionError as error:
            raise UserError(
                f"no Ray cluster answers: {error}",
                received=f"cluster.address={self.cluster.address}",
                mend="start one (`ray start --head`), or choose cluster=local",
            ) from error
        require_resources(self.cluster, ray.cluster_resources())

    def _fit(self) -> None:
        import ray.train
        from ray.train.torch import TorchTrainer

        cluster = self.cluster
        resources = {"CPU": cluster.cpus_per_worker} | ({"GPU": cluster.gpus_per_worker} if cluster.gpus_per_worker else {})
        trainer = TorchTrainer(
            serve,
            train_loop_config={"mailbox": str(self.mailbox)},
            scaling_config=ray.train.ScalingConfig(
                num_workers=cluster.workers, use_gpu=cluster.gpus_per_worker > 0, resources_per_worker=resources
            ),
            run_config=ray.train.RunConfig(
                name="group",
                storage_path=str(self.mailbox / "ray"),
                failure_config=ray.train.FailureConfig(max_failures=cluster.max_failures),
                logging_config=ray.train.LoggingConfig(log_level="WARNING"),
            ),
        )
        trainer.fit()


def require_resources(cluster: ClusterSpec, available: dict[str, float]) -> None:
    """Refuse a group that the cluster can never hold; Ray Train would wait for it for ever.

    Raises:
        UserError: more workers than the cluster has CPUs or GPUs for.
    """
    for kind, each in (("CPU", cluster.cpus_per_worker), ("GPU", cluster.gpus_per_worker)):
        if each * cluster.workers > available.get(kind, 0.0) + 1e-9:
            raise UserError(
                f"more workers than the cluster has {kind}s for",
                received=f"cluster.workers={cluster.workers} with {each:g} {kind} each",
                expected=f"at most {available.get(kind, 0.0):g} {kind} in all",
                mend=f"lower cluster.workers, or cluster.{kind.lower()}s_per_worker",
            )


class RaySession:
    """The worker's view inside a TorchTrainer."""

    def __init__(self) -> None:
        import ray.train
        import ray.train.torch

        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world: int = context.get_world_size()
        self.device = ray.train.torch.get_device()

    def report(self, metrics: dict[str, Any]) -> None:
        import ray.train

        ray.train.report(metrics)


def serve(config: dict[str, Any]) -> None:
    """What each Ray worker runs: one job after another until the mailbox is closed."""
    from components.training.jobs import JOBS  # also imports torch, before the first job asks for it

    session, mailbox = RaySession(), Path(config["mailbox"])
    number = _first_unfinished(mailbox)
    while (letter := _wait_for_job(mailbox, number)) is not None:
        try:
            JOBS[letter["job"]](session, letter["config"])
        except Exception as error:
            _record_failure(mailbox, number, session.rank, error)
            raise
        session.report({"job": number})  # a barrier: done means that every rank has finished
        if session.rank == 0:
            (mailbox / f"job_{number:03d}.done").touch()
        number += 1


def _first_unfinished(mailbox: Path) -> int:
    number = 0
    while (mailbox / f"job_{number:03d}.done").exists():
        number += 1
    (mailbox / f"job_{number:03d}.failed.json").unlink(missing_ok=True)  # of an attempt that Ray restarted
    return number


def _wait_for_job(mailbox: Path, number: int) -> dict[str, Any] | None:
    path = mailbox / f"job_{number:03d}.json"
    while not path.exists():
        if (mailbox / "closed").exists() or not mailbox.exists():
            return None
        time.sleep(_POLL_SECONDS)
    letter: dict[str, Any] = read_json(path)
    return letter


def _record_failure(mailbox: Path, number: int, rank: int, error: Exception) -> None:
    path = mailbox / f"job_{number:03d}.failed.json"
    if path.exists():  # the first to fail is the cause; the others fail because it left
        return
    fields = {k: getattr(error, k, None) for k in ("what", "mend")} | {k: _text(getattr(error, k, None)) for k in ("received", "expected")}
    write_json(path, {"kind": type(error).__name__, "rank": rank, "error": str(error), "traceback": traceback.format_exc(), **fields})


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _as_error(record: dict[str, Any]) -> Exception:
    if record["kind"] == "UserError":
        return UserError(record["what"], received=record["received"], expected=record["expected"], mend=record["mend"])
    if record["kind"] == "RunError":
        return RunError(record["error"])
    return RunError(f"worker {record['rank']} failed: {record['kind']}: {record['error']}\n{record['traceback']}")
