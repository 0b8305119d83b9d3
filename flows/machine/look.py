"""`modelyard doctor` without arguments: every check of the machine, in order, as plain data."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from components.errors import UserError
from components.training.doctor.finding import Finding, rows
from flows.machine import clock, data, disk, gpu, keys, leases, network, ray, versions
from flows.machine.machine import Machine

Check = Callable[[Machine], Finding | list[Finding]]

CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("versions", "python", versions.python),
    ("versions", "pairs", versions.pairs),
    ("versions", "requirements", versions.requirements),
    ("versions", "driver and CUDA", gpu.driver),
    ("ray", "clusters on this host", ray.clusters),
    ("ray", "token", ray.token),
    ("ray", "socket path", ray.socket_path),
    ("ray", "shared memory", ray.shared_memory),
    ("ray", "open files", ray.open_files),
    ("network", "Prefect's server", network.prefect_server),
    ("network", "Prefect's port", network.prefect_port),
    ("network", "dashboard's port", network.dashboard_ports),
    ("network", "W&B key", keys.wandb_key),
    ("disk", "writable", disk.writable),
    ("disk", "room", disk.room),
    ("disk", "Prefect's database", disk.database),
    ("data", "small files", data.small_files),
    ("data", "DVC's lock files", data.lock_files),
    ("data", "DVC's locks", data.locks),
    ("data", "DVC's telemetry", data.analytics),
    ("store", "leases", leases.leases),
    ("store", "leftovers", leases.leftovers),
    ("clock", "set back", clock.set_back),
    ("clock", "the disk's", clock.disks_clock),
    ("clock", "leap", clock.leap),  # last: it compares with when we began
)


def look(machine: Machine) -> dict[str, Any]:
    """Check a machine. Changes nothing.

    Returns:
        As components.training.doctor.job.doctor: `checks`, a list of {check, name, status, found, expected, mend, seconds}; `failed`; `seconds`.
    """
    started = time.perf_counter()
    wrong = "this check itself is broken: report it, with this line"
    found = [row for check, name, judge in CHECKS for row in rows(check, name, partial(_judge, judge, machine), wrong)]
    return {"checks": found, "failed": sum(row["status"] == "fail" for row in found), "seconds": time.perf_counter() - started}


def _judge(check: Check, machine: Machine) -> Finding | list[Finding]:
    """What a run would be refused for is a finding here."""
    try:
        return check(machine)
    except UserError as error:
        received = "" if error.received is None else f" ({error.received})"
        return Finding("fail", f"{error.what}{received}", str(error.expected or "what a run needs"), error.mend)
