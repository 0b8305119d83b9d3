"""Processes that do not import the large packages anew: they are forked from one that has (multiprocessing's fork server)."""

from __future__ import annotations

import multiprocessing as mp
import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing.context import ForkServerContext
from pathlib import Path

# None that reads the environment when it is imported, as Prefect and W&B do; and none of this project's, which a command takes from its folder.
_PRELOADED = [
    "torch._dynamo",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "hydra",
    "fastapi",
    "pydantic_settings",
    "rich.console",
    "psutil",
    *("griffe", "httpx", "humanize", "jsonschema", "pendulum", "prometheus_client", "websockets"),  # Prefect's, a quarter of its import
]
_ROOT = Path(__file__).parents[1]


def context() -> ForkServerContext:
    """The fork server of this process; its first process starts it."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def run_command(root: Path, env: dict[str, str], arguments: tuple[str, ...], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run `python -m flows ARGUMENTS` in the project `root` with this environment and no other.

    Raises:
        subprocess.TimeoutExpired: it has not ended after `timeout` seconds, and was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = context().Process(target=_become_command, args=(str(root), env, arguments, str(out), str(err)))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(arguments, timeout, out.read_text(), err.read_text())
        return subprocess.CompletedProcess(arguments, process.exitcode, out.read_text(), err.read_text())


def _become_command(root: str, env: dict[str, str], arguments: tuple[str, ...], out: str, err: str) -> None:
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(root)
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in env
    sys.path[:] = [root, *(folder for folder in sys.path if folder and Path(folder).resolve() != _ROOT)]
    assert not {"components", "flows", "prefect"} & {name.partition(".")[0] for name in sys.modules}
    sys.argv[1:] = arguments
    runpy.run_module("flows", run_name="__main__", alter_sys=True)
