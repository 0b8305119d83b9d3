"""The NVIDIA driver against the CUDA that torch was built with. torch is not imported: its version.py says it."""

from __future__ import annotations

import importlib.machinery
import re
from pathlib import Path

from components.training.doctor.finding import Finding, Skipped
from flows.machine.machine import Machine

_DRIVERS = {11: (450, 80), 12: (525, 60), 13: (580, 65)}  # the oldest driver that runs any minor version of a CUDA (NVIDIA, CUDA compatibility)
_NVIDIA = "the table of drivers in NVIDIA's notes on CUDA compatibility"


def driver(machine: Machine) -> Finding:
    """A GPU needs a torch with CUDA, and a driver that is new enough for it."""
    text = _read(machine.proc / "driver" / "nvidia" / "version")
    match = re.search(r"Kernel Module[^\d\n]*(?:x86_64|aarch64)?\s+(\d+)\.(\d+)", text or "")
    if text is None:
        raise Skipped("no NVIDIA GPU")
    if match is None:
        return Finding("warn", "an NVIDIA driver of an unknown version", "a version in /proc/driver/nvidia", "install the driver again")
    version, cuda = (int(match[1]), int(match[2])), _cuda(machine)
    found = f"driver {match[1]}.{match[2]}, torch built {'without CUDA' if cuda is None else f'with CUDA {cuda}'}"
    if cuda is None:
        wanted = "a torch that can use the GPU: this build trains on the CPU and does not complain"
        return Finding("warn", found, wanted, "install a torch with CUDA: constraints.txt names the build that was tested")
    needed = _DRIVERS.get(int(cuda.partition(".")[0]))
    if needed is None:
        return Finding("warn", found, f"a CUDA of {sorted(_DRIVERS)}: for others no driver is known here", f"look into {_NVIDIA}")
    return Finding(
        "ok" if version >= needed else "fail",
        found,
        f"driver {needed[0]}.{needed[1]} or newer: with an older one torch finds no GPU",
        "update the driver, or install a torch that was built with an older CUDA",
    )


def _cuda(machine: Machine) -> str | None:
    found = importlib.machinery.PathFinder.find_spec("torch", list(machine.packages))
    text = None if found is None or found.origin is None else _read(Path(found.origin).parent / "version.py")
    match = re.search(r"^cuda\b.*=\s*'([\d.]+)'", text or "", re.MULTILINE)
    return None if match is None else match[1]


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
