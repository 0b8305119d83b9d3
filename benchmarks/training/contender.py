"""One contender in a process of its own: `python -m benchmarks.training.contender NAME SYSTEM DATA STEPS CHUNK`; it stops at gates (gate.py).

Memory is the most that it had allocated up to then, less what it had before it began: after imports and the first step of a tiny model, because torch
imports a good deal then.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.training import gate
from benchmarks.training.systems import SYSTEMS, System, plain_spec

CONTENDERS = {  # name in the table -> module, and what must be installed for it
    "by hand": ("by_hand", None),
    "modelyard": ("ours", None),
    "Lightning": ("by_lightning", "lightning"),
    "Accelerate": ("by_accelerate", "accelerate"),
}
LOG_EVERY_STEPS = 20
_ROOT = Path(__file__).resolve().parents[2]


class Contender:
    """A contender's process, seen from outside; it has begun and waits at its first gate.

    Args:
        name: in CONTENDERS.
        steps: of the whole training.
        chunk_steps: of a turn.
    """

    def __init__(self, name: str, system: str, data: Path, steps: int, chunk_steps: int) -> None:
        self._name = name
        command = [sys.executable, "-m", "benchmarks.training.contender", name, system, str(data), str(steps), str(chunk_steps)]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
        self._process = subprocess.Popen(
            command, cwd=_ROOT, env=one_thread(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )
        self._told()

    def turn(self) -> dict[str, float]:
        """Let it make a chunk of steps; return their `seconds`, and `memory_gib` so far.

        Raises:
            RuntimeError: it failed; its own words are in the message.
        """
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._told()

    def _told(self) -> dict[str, float]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if (told := gate.read(line)) is not None:
                return told
        self._process.wait()
        self._errors.seek(0)
        raise RuntimeError(f"{self._name} failed:\n{self._errors.read()}")

    def close(self) -> None:
        """End it; what it would do after its last step is nobody's figure."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()


def one_thread() -> dict[str, str]:
    """The environment of a process that computes on one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main(name: str, system_name: str, data: Path, steps: int, chunk_steps: int) -> None:
    """Train, here."""
    import torch

    from benchmarks.training.log import Log

    torch.set_num_threads(1)
    module: Any = importlib.import_module(f"benchmarks.training.{CONTENDERS[name][0]}")
    system = SYSTEMS[system_name]
    _settle(system)
    log = Log(LOG_EVERY_STEPS, gate=gate.Gate(chunk_steps))
    with tempfile.TemporaryDirectory() as folder:
        more = {"directory": Path(folder)} if name == "modelyard" else {}
        module.train(system, data, steps, log, **more)


def _settle(system: System) -> None:
    """Import what a training imports late, and make a step of a tiny model: what torch imports at its first step belongs to no contender."""
    import torch

    from components.spec.targets import resolve

    spec = plain_spec(system, steps=1)
    for target in (spec["model"], spec["task"], spec["loss"], spec["schedule"], *spec["augment"]["always"]):
        resolve(target["_target_"])
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    torch.nn.functional.cross_entropy(layer(torch.zeros(1, 2)), torch.zeros(1, dtype=torch.int64)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
