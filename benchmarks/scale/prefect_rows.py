"""What one run leaves in Prefect's database: rows by table, and bytes. A server of its own, so that nothing else writes into it."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from benchmarks.project import copy_project, environment
from benchmarks.scale.measure import Row, row
from components.errors import RunError

_START_SECONDS = 300.0
_SETTLE_SECONDS = 30.0  # the server's services write what they were told a while later
RUN = ("run", "cluster=inline", "debug=fast", "tracking=disabled")


def prefect(folder: Path, runs: int = 2) -> Iterator[Row]:
    """Run the pipeline against a server; the last run's rows are told, since the first one makes tables' constants too."""
    project = copy_project(folder / "project")
    port = _free_port()
    home = folder / "prefect"
    own = {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "DO_NOT_TRACK": "1"}
    env = {**environment(folder), **own}
    command = [sys.executable, "-m", "flows.adapters.prefect_server", str(port)]
    with open(folder / "server.log", "wb") as output:
        server = subprocess.Popen(command, cwd=project, env=env, stdout=output, stderr=output)
    try:
        _wait(own["PREFECT_API_URL"], server)
        for number in range(runs):
            time.sleep(_SETTLE_SECONDS)
            before, size = _rows(home), _size(home)
            subprocess.run([sys.executable, "-m", "flows", *RUN, f"seed={number}"], cwd=project, env=env, check=True, capture_output=True)
        time.sleep(_SETTLE_SECONDS)
        after = _rows(home)
        new = {table: count - before[table] for table, count in after.items() if count > before[table]}
        yield row("Prefect rows a run", sum(new.values()), "rows")
        yield from (row(f"Prefect rows a run: {table}", count, "rows") for table, count in sorted(new.items(), key=lambda item: -item[1])[:5])
        yield row("Prefect's database grows a run", (_size(home) - size) / 1024, "KiB")
    finally:
        server.terminate()
        server.wait()
    yield row("sqlite commits of one row", _commits(folder / "commits.db"), "a second")


def _rows(home: Path) -> Counter[str]:
    with closing(sqlite3.connect(f"file:{home / 'prefect.db'}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite%'")]
        return Counter({table: database.execute(f'select count(*) from "{table}"').fetchone()[0] for table in tables})


def _size(home: Path) -> int:
    """Bytes of a copy without gaps: the files themselves grow in steps of megabytes."""
    copy = home / "copy.db"
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        database.execute("vacuum into ?", (str(copy),))
    size = copy.stat().st_size
    copy.unlink()
    return size


def _commits(path: Path, seconds: float = 3.0) -> float:
    """How many transactions of one row sqlite makes in a second here, in the mode that Prefect uses (WAL, synchronous NORMAL)."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = normal")
        database.execute("create table rows (value text)")
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            database.execute("insert into rows values (?)", ("x" * 500,))
            database.commit()
            count += 1
        return count / seconds


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise RunError(f"no Prefect server after {_START_SECONDS:g} s; pid {os.getpid()}")
