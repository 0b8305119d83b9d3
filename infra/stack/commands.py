"""Up, down, status. What is told to a person goes to stderr; stdout has the exports, for `eval`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from components.errors import RunError, UserError
from flows.processes import end_marked
from infra.prefect.automations import apply
from infra.stack import parts
from infra.stack.layout import CREDENTIALS, MARK, Stack, remember, remembered, require_same
from infra.stack.service import Service

_START_SECONDS = 300.0  # each; half a minute on a quiet machine
_END_SECONDS = 40.0  # a run that is told to leave finishes its step and saves
_DEPLOY_SECONDS = 300.0


def up(stack: Stack) -> None:
    """Start what of the stack does not run, wait until all of it works, and bring deployments and automations to it.

    Raises:
        UserError: a port is taken, or a stack with other ports runs in the folder.
        RunError: something did not start; what did goes on running.
    """
    stack.prepare()
    with FileLock(stack.folder / "lock"):
        last = remembered(stack.folder, stack.root)
        if last is not None and any(part.pid() for part in parts.parts(last)):
            require_same(stack, last)
        remember(stack)
        server, worker = parts.server(stack), parts.worker(stack)
        ray = [parts.ray_head(stack)] if stack.ports.ray is not None else []
        for part, port in [(server, stack.ports.prefect), *((part, stack.ports.ray or 0) for part in ray)]:
            _start(part, stack, port)
        _wait(server)
        _start(worker, stack)
        _wait(worker)
        _deploy(stack)
        for line in apply(parts.api(stack)):
            tell(line)
        for part in ray:
            _wait(part)
    show(stack)


def _start(part: Service, stack: Stack, port: int | None = None) -> None:
    if (pid := part.pid()) is not None:
        tell(f"{part.name}: runs already (pid {pid})")
        return
    if port is not None and parts.listens(port):
        option = f"--{'prefect' if part.name == 'server' else part.name}-port"
        raise UserError(f"the port of {part.name} is taken", received=f"127.0.0.1:{port}", mend=f"end what listens there (`ss -ltnp`), or {option} N")
    part.start(stack.root)
    tell(f"{part.name}: starting (pid {part.pid()}, log {part.log})")


def _wait(part: Service) -> None:
    part.wait(_START_SECONDS)
    tell(f"{part.name}: ready")


def _deploy(stack: Stack) -> None:
    """Bring every deployment of prefect.yaml to the server, as it stands there now."""
    command = [parts.tool("prefect"), "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, cwd=stack.root, env=stack.environment(), capture_output=True, text=True, timeout=_DEPLOY_SECONDS)
    if done.returncode != 0:
        raise RunError(f"`prefect deploy --all` failed:\n{(done.stdout + done.stderr)[-3000:]}")
    names = sorted(f"{found['flow']}/{found['name']}" for found in deployments(stack))
    tell(f"deployments: {', '.join(names)}")


def deployments(stack: Stack) -> list[dict[str, str]]:
    """Return the server's deployments, each with the name of its flow."""
    api = parts.api(stack)
    flows = {found["id"]: found["name"] for found in api.ask("POST", "flows/filter", {})}
    return [{"flow": flows[found["flow_id"]], "name": found["name"]} for found in api.ask("POST", "deployments/filter", {})]


def down(folder: Path, root: Path) -> None:
    """End every process of the stack in a folder, and what its runs started; its database, logs and token stay.

    Raises:
        RunError: a process cannot be ended.
    """
    stack = remembered(folder, root)
    if stack is None:
        tell(f"no stack was brought up in {folder}")
        return
    with FileLock(folder / "lock"):
        for part in parts.parts(stack):
            if (pid := part.pid()) is not None:
                part.end(_END_SECONDS)
                tell(f"{part.name}: ended (pid {pid})")
        end_marked(str(folder), MARK)
    tell("nothing of the stack runs")


def status(folder: Path, root: Path) -> bool:
    """Tell what of a stack runs; True when all of it does."""
    stack = remembered(folder, root)
    if stack is None:
        tell(f"no stack was brought up in {folder}")
        return False
    well = True
    for part in parts.parts(stack):
        pid, ready = part.pid(), part.ready()
        well = well and ready
        how = f"works (pid {pid})" if ready else "is gone" if pid is None else f"does not answer (pid {pid})"
        tell(f"{part.name}: {how}, log {part.log}")
    if well:
        show(stack)
    return well


def show(stack: Stack) -> None:
    """Print what a shell needs to use the stack."""
    for name, value in stack.exports().items():
        print(f"export {name}={shlex.quote(value)}", flush=True)
    if CREDENTIALS in os.environ:
        tell(f'the server asks for credentials: export PREFECT_API_AUTH_STRING="${CREDENTIALS}"')


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
