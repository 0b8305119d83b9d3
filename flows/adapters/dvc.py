"""DVC: params.yaml from conf/data, and `dvc repro` as a process group of its own. Imports no torch.

DVC caches and versions the data stages. It runs as a subprocess: its Python API resolves dvc.yaml against this process's directory
and would hold its locks here.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from components.data.__main__ import ERROR_FILE_VARIABLE
from components.data.card import CARD_NAME
from components.data.params import PARAMS_NAME, PREPARED, own_stamp, read_yaml, reader_file
from components.errors import RunError, UserError
from components.files import digest, read_json, write_text
from components.spec.parse import parse_data, to_plain
from components.spec.schema import DataSpec
from flows.adapters.dvc_remains import mend
from flows.code import fingerprint
from flows.processes import end_group
from flows.project import python_command

_HEADER = "# Written by flows/adapters/dvc.py from conf/data/*.yaml and the data sets that were asked for; `dvc repro` reads it.\n"
_READERS = "components.data.sources"
_VARIANT = re.compile(r"(.+)-[0-9a-f]{8}")
_PART = re.compile(r"Running stage '(?P<ran>\w+)@|Stage '(?P<other>\w+)@[^']*' (?P<told>didn't change, skipping|is cached - skipping run)")
_PART_TOLD = {"didn't change, skipping": "unchanged", "is cached - skipping run": "taken from DVC's cache"}
_BUSY = ("is busy, it is being blocked by", "Unable to acquire lock")
_BUSY_WAIT_SECONDS = 600.0
_TAIL_LINES = 30
_SIGNALLED = 128  # greater exit codes: a signal ended it
_GRACE_SECONDS = 5.0  # from the interrupt to the kill


def write_params(root: Path, data: dict[str, Any]) -> str:
    """Bring params.yaml up to date with conf/data and with the data set that is asked for.

    Args:
        root: the project's folder.
        data: the asked data set, the plain form of a conf/data file, options changed or not.

    Returns:
        The key of the asked data set in params.yaml: its name, or `<name>-<8 hex digits>` where its options are not the file's,
        so that variants live side by side.

    Raises:
        UserError: the data set or a file under conf/data is malformed.
    """
    asked = _entry(root, data, "data")
    defaults = {path.stem: _entry(root, read_yaml(path), path.name) for path in sorted((root / "conf" / "data").glob("*.yaml"))}
    name = asked["name"]
    key = name if defaults.get(name) == asked else f"{name}-{digest(asked, length=8)}"
    path = root / PARAMS_NAME
    with _lock(root, "params"):
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        present = (read_yaml(path) or {}).get("data", {}) if before else {}
        variants = {k: v for k, v in present.items() if (match := _VARIANT.fullmatch(k)) and match[1] in defaults}
        text = _HEADER + yaml.safe_dump({"data": {**variants, **defaults, key: asked}}, sort_keys=True, width=200)
        if text != before:
            write_text(path, text)
    return key


def _entry(root: Path, plain: Any, path: str) -> dict[str, Any]:
    """Return one data set's part of params.yaml: its plain form, the reader's file and its helpers and a user's own files' stamp for DVC to watch."""
    definition = parse_data(plain, path)
    return {**to_plain(definition), "reader": reader_file(definition), "helpers": _helpers(definition), "stamp": own_stamp(definition, root)}


def _helpers(definition: DataSpec) -> str:
    """A hash of the modules beside the reader that it imports: DVC watches one file a data set, and they are a list."""
    reader = definition.prepare.name.rpartition(".")[0]
    found = {module: code for module, code in fingerprint([reader]).items() if module.startswith(f"{_READERS}.") and module != reader}
    return digest(found, length=16) if found else ""


def prepare(root: Path, key: str, on_line: Callable[[str], None]) -> Path:
    """Run `dvc repro prepare@KEY` and return the prepared directory.

    Whatever interrupts this call (Ctrl-C included) ends DVC and the stage it runs before it is passed on.

    Args:
        root: the project's folder.
        key: from write_params.
        on_line: gets each line that DVC and the stages print.

    Raises:
        UserError: a stage refused its input; the stage's own message.
        RunError: anything else that failed, with the last lines.
    """
    with _lock(root, "repro"):
        error_file = root / ".dvc" / "tmp" / "modelyard-error.json"
        error_file.unlink(missing_ok=True)
        command = python_command("flows.guard", *python_command("dvc", "repro", f"prepare@{key}"))
        kept = mend(root)
        code, tail = _repeat_while_busy(command, root, error_file, on_line)
        if 0 <= code <= _SIGNALLED:
            kept.unlink(missing_ok=True)
        if error_file.exists():
            told = read_json(error_file)
            error_file.unlink()
            raise UserError(told["what"], received=told["received"], expected=told["expected"], mend=told["mend"])
    directory = root / PREPARED / key
    if code != 0 or not (directory / CARD_NAME).is_file():
        raise RunError(f"`dvc repro prepare@{key}` failed with exit code {code}; its last lines:\n" + "\n".join(tail))
    return directory


def part_told(line: str) -> tuple[str, str] | None:
    """Return what a line that DVC prints says of a data stage's part, such as `("fetch", "unchanged")`; None of any other line."""
    match = _PART.match(line)
    if match is None:
        return None
    return match["ran"] or match["other"], "ran" if match["ran"] else _PART_TOLD[match["told"]]


@contextmanager
def _lock(root: Path, name: str) -> Iterator[None]:
    """Let one process at a time write params.yaml, or run DVC (which fails at once where another holds its locks)."""
    lock = FileLock(root / ".dvc" / "tmp" / f"modelyard-{name}.lock")
    try:
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise UserError(
            f"the project's folder cannot be written: {error.strerror}",
            received=lock.lock_file,
            mend="mend its permissions or free some space",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _repeat_while_busy(command: list[str], root: Path, error_file: Path, on_line: Callable[[str], None]) -> tuple[int, list[str]]:
    """Run DVC until it finds its locks free: somebody may run `dvc` by hand."""
    deadline, pause_seconds = time.monotonic() + _BUSY_WAIT_SECONDS, 1.0
    while True:
        code, tail = _run(command, root, error_file, on_line)
        busy = code != 0 and any(sign in line for line in tail for sign in _BUSY)
        if not busy or time.monotonic() > deadline:
            return code, tail
        on_line(f"another DVC process is busy here, trying again in {pause_seconds:.0f} s")
        time.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, 15.0)


def _run(command: list[str], root: Path, error_file: Path, on_line: Callable[[str], None]) -> tuple[int, list[str]]:
    environment = {
        **os.environ,
        "DVC_NO_ANALYTICS": "1",
        ERROR_FILE_VARIABLE: str(error_file),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",  # dvc.yaml says `python`: this one
    }
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    process = subprocess.Popen(
        command, cwd=root, env=environment, start_new_session=True, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        for line in process.stdout:
            tail.append(line.rstrip())
            on_line(line.rstrip())
        return process.wait(), list(tail)
    except BaseException:
        end_group(process, signal.SIGINT, _GRACE_SECONDS)
        raise
