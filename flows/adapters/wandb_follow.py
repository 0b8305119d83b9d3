"""The tracker's process: `python -m flows.adapters.wandb_follow ORDER.json` follows a journal and logs to one W&B run, online or offline.

Online, the server says up to where it knows the run; offline, the pieces that earlier attempts left behind do. Rows behind that are logged, no other,
so that a run is whole and has each step once, however often its training was killed and resumed.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NoReturn

from components.files import read_json, read_object, write_json
from components.training.journal import Follower
from flows.adapters.wandb import ENDED, STOP, UNDELIVERED, end_children, leave, settle
from flows.adapters.wandb_pieces import pieces
from flows.adapters.wandb_rows import Rows
from flows.project import python_command

_ENVIRONMENT = dict(os.environ)  # before wandb notes in it how to reach its core
_POLL_SECONDS = 0.5
_LAST_POLL_SECONDS = 0.05  # the training has ended: what is waited for is the report, and then the driver waits for us
_INIT_SECONDS = 30.0
_ANSWER_SECONDS = 10.0
_SERVER_ERROR = 500
_ENDING_SECONDS = 4.0  # of the driver's patience, for what comes after the upload


def main(path: Path, mode: str | None = None) -> int:
    """Track what an order names, in its directory, until its stop file appears or the driver is gone. Returns the exit code.

    Args:
        mode: another than the order's.
    """
    order, directory = read_json(path), path.parent
    records: list[dict[str, Any]] = []
    while not records:  # wandb's import would take time from the workers' start
        over = _over(order, directory)
        follower = Follower(_journal((directory / order["journal"]).resolve()))
        records = follower.new_records()
        if over and not records:
            return 0
        time.sleep(0.0 if records else _POLL_SECONDS)
    earlier = pieces(directory.parent, order["id"])
    run, online = start_run({**order, "mode": mode or order["mode"]}, directory)
    run.define_metric("*", step_metric="step")
    rows = Rows(run.starting_step - 1 if online else max((piece.last_step for piece in earlier), default=-1))
    while True:
        over = _over(order, directory)  # asked before the last look into the journal
        _log(run, rows.take(records))
        if any(record.get("name") == "start" for record in records):
            run.config.update(_lengths(records), allow_val_change=True)
        records = follower.new_records()
        if over and not records:
            break
        time.sleep(0.0 if records else _LAST_POLL_SECONDS if _trained(directory, order) else _POLL_SECONDS)
    return _end(run, rows, order, directory, online=online)


def start_run(order: dict[str, Any], directory: Path) -> tuple[Any, bool]:
    """Begin or continue W&B's run. Returns it, and whether it is online: a server that does not take us is never the run's problem."""
    import wandb

    options = {
        **{name: order[name] for name in ("project", "entity", "id", "group", "name", "job_type", "config", "tags")},
        "dir": str(directory),
        "settings": wandb.Settings(
            console="off",
            silent=True,
            init_timeout=_INIT_SECONDS,
            disable_git=True,
            disable_code=True,
            x_disable_stats="after" in order,  # of the machine that syncs
            x_stats_pid=order["parent"],  # what the run takes, not what its tracker takes
            x_stats_track_process_tree=True,
            finish_timeout=max(1.0, order["timeout_seconds"] - _ENDING_SECONDS),
            finish_timeout_raises=True,
        ),
    }
    if order["mode"] == "online":
        before = pieces(directory.parent, order["id"])
        try:
            require_answer(wandb.setup().settings.base_url)
            return wandb.init(mode="online", resume="allow", **options), True
        except Exception as error:
            print(f"W&B is not reachable ({error}); tracking offline, `modelyard sync` later", file=sys.stderr)
        for piece in pieces(directory.parent, order["id"]):
            if piece not in before:  # of a beginning that came to nothing
                shutil.rmtree(piece.directory, ignore_errors=True)
        if "after" in order:  # `modelyard sync`: offline there is nothing to do
            leave(UNDELIVERED)
        _again_offline()
    return wandb.init(mode="offline", **options), False  # offline there is no resume: `modelyard sync` joins the pieces


def _again_offline() -> NoReturn:
    """Begin this process anew: W&B's core does not begin a run twice, of which the first beginning failed."""
    end_children()
    sys.stderr.flush()
    command = python_command("flows.adapters.wandb_follow", sys.argv[1], "offline")
    os.execve(command[0], command, _ENVIRONMENT)


def require_answer(url: str) -> None:
    """Ask whether a server is there at all: W&B's own first call takes a minute to give up.

    Raises:
        OSError: nobody answers, or only a gateway whose server is away.
    """
    try:
        urllib.request.urlopen(url, timeout=_ANSWER_SECONDS).close()
    except urllib.error.HTTPError as error:
        if error.code >= _SERVER_ERROR:
            raise


def _log(run: Any, rows: list[dict[str, float]]) -> None:
    """Log whole rows. W&B's own step is the training's, so that its charts have one axis whichever a person chooses."""
    for row in rows:
        run.log(row, step=int(row["step"]), commit=True)


def _lengths(records: list[dict[str, Any]]) -> dict[str, int]:
    """How long the training is to be, as the journal's first record says."""
    (start, *_) = (record for record in records if record.get("name") == "start")
    return {name: start[name] for name in ("total_steps", "steps_per_epoch") if name in start}


def _end(run: Any, rows: Rows, order: dict[str, Any], directory: Path, *, online: bool) -> int:
    """End W&B's run as the driver says; where the driver was killed or the run failed, the next attempt goes on under the same id."""
    import wandb

    last = read_object(directory / STOP) or {"summary": {}, "report": None, "exit_code": 1}
    if last["exit_code"] == 0:
        _log(run, rows.rest())
    else:
        run.summary.update(rows.unfinished)  # no row of it: the journal may say more of this step when the training goes on
    run.summary.update(last["summary"])
    if last["report"] is not None and (page := directory / last["report"]).is_file():
        run.summary["report"] = wandb.Html(str(page), inject=False)
    delivered = _finish(run, last["exit_code"]) and _arrived(run, rows.logged) if online else _finish(run, last["exit_code"])
    if online and delivered:  # whatever earlier pieces hold, the server has it
        for piece in pieces(directory.parent, order["id"]):
            piece.mark("delivered", rows.logged)
    if last["exit_code"] == 0:
        write_json(directory / ENDED, {"id": order["id"]})
    return 0 if delivered and online == (order["mode"] == "online") else UNDELIVERED


def _finish(run: Any, exit_code: int) -> bool:
    """End W&B's run; False when its server did not take it in time."""
    try:
        run.finish(exit_code=exit_code)
    except TimeoutError as error:
        print(error, file=sys.stderr)
        return False
    return True


def _arrived(run: Any, step: int) -> bool:
    """Ask the server for the last step that it has: W&B ends without complaint where it was refused in the middle (a key that was withdrawn)."""
    import wandb

    try:
        found = wandb.Api(timeout=int(_ANSWER_SECONDS)).run(f"{run.entity}/{run.project}/{run.id}").lastHistoryStep
    except Exception as error:
        print(f"W&B does not say what it has ({error})", file=sys.stderr)
        return False
    return int(found) >= step


def _over(order: dict[str, Any], directory: Path) -> bool:
    """Nothing more will come: the driver has said how it ended, or it is gone, or it is `modelyard sync`, long after."""
    return (directory / STOP).exists() or os.getppid() != order["parent"] or "after" in order


def _trained(directory: Path, order: dict[str, Any]) -> bool:
    """The training is committed: what is left to wait for are evaluation and report."""
    return not (directory / order["journal"]).is_file()


def _journal(path: Path) -> Path:
    """The journal, or where it lies since its stage was committed: a short training ends before this process looks."""
    committed = path.parent.with_name(path.parent.name.removesuffix(".partial")) / path.name
    return committed if committed.is_file() and not path.is_file() else path


if __name__ == "__main__":
    settle()
    leave(main(Path(sys.argv[1]), *sys.argv[2:]))
