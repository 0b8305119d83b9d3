"""Ray, seen from the driver: a worker group that lives in a process of its own and takes jobs from a mailbox directory.

The group (flows/adapters/ray_group.py) starts as soon as it is known that there will be something to train, so that its imports and those of
its workers (some fifteen seconds) run beside the data stage; evaluation runs on the same workers without a second start. It is a process of
its own because Ray takes over what it lives in: signal handlers, and the whole process when its core aborts. The mailbox lies in the store:

    driver.json              whose it is: what a killed driver has left is removed by the next one
    job_000.json             {"job": name, "config": {...}}, written by the driver
    job_000.done             written by rank 0 when all ranks have finished the job
    job_000.failed.json      what the first rank to fail reported
    group.failed.json        why the group itself failed
    writer.json              whose the jobs are: the workers that were started last
    stop                     save and leave: somebody pressed Ctrl-C, or a SIGTERM came
    resize                   save and leave: an elastic group is about to be started again with other workers
    left                     written by rank 0 when all ranks have
    closed                   no more jobs: workers return
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any

from components.errors import Interrupted, RunError, UserError
from components.files import read_json, write_json
from components.spec.parse import to_plain
from components.spec.schema import ClusterSpec
from components.training.notices import Notice, Told
from flows.lease import is_dead, write_holder
from flows.processes import end_group, end_marked, end_session
from flows.project import python_command
from flows.workers import listening

_MARK = "MODELYARD_GROUP"  # in the environment of everything that a group starts: its mailbox's name
RESIZE, LEFT, WRITER = "resize", "left", "writer.json"
_POLL_SECONDS = 0.05
_CLOSE_SECONDS = 15.0
OBJECT_STORE_BYTES = 256 << 20  # of a cluster of our own; nothing large passes through it


class RayWorkers:
    """Workers of one trainer of Ray Train, on a Ray cluster that is started for them when `cluster.address` is null.

    Args:
        cluster: address, number of workers, resources of each.
        mailboxes: directory under which the group's own mailbox is made.
        told: what training listens to; without it, Ctrl-C and SIGTERM.
    """

    def __init__(self, cluster: ClusterSpec, mailboxes: Path, told: Told | None = None) -> None:
        self._told = told
        self.mailbox = mailboxes / uuid.uuid4().hex[:12]
        write_holder(self.mailbox / "driver.json")
        self._jobs = 0
        write_json(self.mailbox / "cluster.json", to_plain(cluster))
        with open(self.mailbox / "group.log", "wb") as output:
            command = python_command("flows.adapters.ray_group", str(self.mailbox))
            env = os.environ | {_MARK: self.mailbox.name}
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, env=env)

    def submit(self, job: str, config: dict[str, Any]) -> None:
        name = f"job_{self._jobs:03d}"
        self._jobs += 1
        write_json(self.mailbox / f"{name}.json", {"job": job, "config": config})
        with listening(job, self._told) as told:
            self._wait(name, job, told)

    def _wait(self, name: str, job: str, told: Told) -> None:
        """Wait for the job's end; what `told` hears goes to the workers."""
        while not (self.mailbox / f"{name}.done").exists():
            alive = self._process.poll() is None
            for failed in (self.mailbox / f"{name}.failed.json", self.mailbox / "group.failed.json"):
                if failed.exists() and (not alive or is_final(failed)):
                    raise as_error(read_json(failed))
            if told.notice is Notice.STOP:
                (self.mailbox / "stop").touch()
                if not (self.mailbox / WRITER).exists():
                    raise Interrupted(f"interrupted before the workers of {job} were there")
            if not alive:
                raise RunError(f"the Ray worker group ended with code {self._process.returncode} before the job '{job}' did:\n{self._log_tail()}")
            time.sleep(_POLL_SECONDS)

    def finish(self) -> None:
        (self.mailbox / "closed").touch()

    def close(self) -> None:
        """Idle workers get a while to return their resources in good order; busy ones are ended."""
        self.finish()
        idle = all((self.mailbox / f"job_{i:03d}.done").exists() for i in range(self._jobs))
        if not idle:
            self._process.terminate()  # it alone, not its group: it has its cluster to end
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            end_group(self._process, signal.SIGKILL, _CLOSE_SECONDS)
        end_session(self._process.pid)
        _remove(self.mailbox)

    def _log_tail(self) -> str:
        return "\n".join((self.mailbox / "group.log").read_text(errors="replace").splitlines()[-15:])


def remove_orphans(mailboxes: Path) -> None:
    """Remove the mailboxes of drivers that were killed, with what their worker groups have left running: a group ends by itself, but not at once."""
    for mailbox in mailboxes.glob("*"):
        if is_dead(mailbox / "driver.json"):
            _remove(mailbox)


def _remove(mailbox: Path) -> None:
    """Workers whose group or raylet was killed live on for seconds; what they write of their failure would bring the directory back."""
    end_marked(mailbox.name, _MARK)
    shutil.rmtree(mailbox, ignore_errors=True)


def is_final(failed: Path) -> bool:
    """A refusal or a diagnosed failure would come again; only the unexpected is left to Ray's restarts."""
    return read_json(failed)["kind"] in ("UserError", "RunError", "Interrupted")


def failure(error: BaseException, trace: str, rank: int | None = None) -> dict[str, Any]:
    """Return an error as plain data, for a `.failed.json`."""
    fields = {k: None if getattr(error, k, None) is None else str(getattr(error, k)) for k in ("what", "received", "expected", "mend")}
    return {"kind": type(error).__name__, "rank": rank, "error": str(error), "traceback": trace, **fields}


def as_error(record: dict[str, Any], who: str = "the worker group") -> BaseException:
    """Return the error that `failure` told of; `who` failed, where it was no worker."""
    if record["kind"] == "UserError":
        return UserError(record["what"], received=record["received"], expected=record["expected"], mend=record["mend"] or "")
    if record["kind"] == "RunError":
        return RunError(record["error"])
    if record["kind"] == "Interrupted":
        return Interrupted(record["error"])
    who = who if record["rank"] is None else f"worker {record['rank']}"
    return RunError(f"{who} failed: {record['kind']}: {record['error']}\n{record['traceback']}")


def local_resources(cluster: ClusterSpec) -> dict[str, float]:
    """Return the CPUs of this machine, and its GPUs where the cluster asks for some: a look at them costs the import of torch."""
    found = {"CPU": float(os.cpu_count() or 1)}
    if cluster.gpus_per_worker:
        import torch

        found["GPU"] = float(torch.cuda.device_count())
    return found


def require_resources(cluster: ClusterSpec, available: dict[str, float]) -> None:
    """Refuse a group that the cluster cannot hold; Ray Train would wait for it. An elastic one asks for its least.

    Raises:
        UserError: more workers than the cluster has CPUs or GPUs for.
    """
    key = "workers" if cluster.min_workers is None else "min_workers"
    wanted: int = getattr(cluster, key)
    for kind, each in (("CPU", cluster.cpus_per_worker), ("GPU", cluster.gpus_per_worker)):
        if each * wanted > available.get(kind, 0.0) + 1e-9:
            raise UserError(
                f"more workers than the cluster has {kind}s for",
                received=f"cluster.{key}={wanted} with {each:g} {kind} each",
                expected=f"at most {available.get(kind, 0.0):g} {kind} in all",
                mend=f"lower cluster.{key}, or cluster.{kind.lower()}s_per_worker",
            )
