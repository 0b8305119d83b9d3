"""W&B with a server that answers, fails and refuses: nothing is lost, nothing is there twice, and nobody waits.

The server is tests/wandb_server.py; wandb and its core are the real ones, and the offline files are theirs.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from components.errors import UserError
from flows.adapters import wandb_sync
from flows.adapters.wandb_mirror import mirror, waiting
from flows.adapters.wandb_pieces import pieces, steps_of
from flows.compose import compose
from flows.tracking import Tracking, tracking_id
from tests.conftest import Workspace
from tests.processes import until
from tests.wandb_server import Run, Server, wandb_server

ROOT = Path(__file__).parents[2]
KEY = "distinctive0key0that0nobody0else0would0have0written"
METRICS = {"test": {"accuracy": 0.5}}
SPEC = compose(ROOT, ["tracking.finish_timeout_seconds=60"])
IDENTIFIER = tracking_id("key")


@dataclass
class Training:
    """A training whose journal is written by hand, in a store of its own."""

    store: Path
    run_id: str = "cnn-lenet5-aa"

    @property
    def directory(self) -> Path:
        return self.store / "runs" / self.run_id

    @property
    def journal(self) -> Path:
        return self.store / "stages" / "train" / "key.partial" / "metrics.jsonl"

    def write(self, *steps: int) -> None:
        """The journal as it is when these steps are made: a whole file in the place of the one before, as a resumed training leaves it."""
        self.journal.parent.mkdir(parents=True, exist_ok=True)
        kinds = (("step", "loss"), ("epoch", "validation/accuracy"))
        lines = [json.dumps({"kind": kind, "step": n, "epoch": n, name: n / 100}) + "\n" for n in steps for kind, name in kinds]
        start = json.dumps({"kind": "event", "name": "start", "step": 0, "total_steps": 9, "steps_per_epoch": 1}) + "\n"
        temporary = self.journal.with_suffix(".new")
        temporary.write_text(start + "".join(lines))
        temporary.replace(self.journal)

    def begin(self, spec: object = SPEC) -> Tracking:
        origin = {"git": {"commit": "c0ffee"}, "data": {"content_sha256": "d" * 64}}
        tracking = Tracking(spec, self.directory, None, lambda key: {**origin, "stage": key})
        tracking.begin("key", self.journal)
        return tracking

    def finish(self, tracking: Tracking) -> str | None:
        page = self.directory / "report.html"
        page.write_text("<h1>the report</h1>")
        tracking.finish("key", self.journal, METRICS, page)
        return tracking.close()

    def sync(self) -> wandb_sync.Outcome:
        return wandb_sync.sync(self.store, None, dry_run=False, announce=print)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with wandb_server() as peer:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", peer.url)
        yield peer
        assert peer.unknown == []


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.delenv("WANDB_API_KEY")


def kill(tracking: Tracking) -> None:
    """As a node that goes away does: tracker and W&B's core at once, without a chance to write anything."""
    assert tracking._tracker is not None
    os.killpg(tracking._tracker._process.pid, signal.SIGKILL)
    tracking._tracker._process.wait()


def require_whole(run: Run, *steps: int) -> None:
    """Every step once and in order, on the one axis; the last figures, the configuration and the report."""
    assert [row["_step"] for row in run.history] == [row["step"] for row in run.history] == list(steps)
    assert all(row["loss"] == row["validation/accuracy"] == row["step"] / 100 for row in run.history)
    assert run.summary["test/accuracy"] == 0.5 and run.summary["step"] == steps[-1]
    assert run.files[run.summary["report"]["path"]] == b"<h1>the report</h1>" and run.summary["report"]["_type"] == "html-file"
    config = {name: told["value"] for name, told in run.config.items()}
    assert config["experiment"] == "cnn/lenet5" and config["origin"]["git"] == {"commit": "c0ffee"} and config["total_steps"] == 9
    assert config["origin"]["data"] == {"content_sha256": "d" * 64} and config["origin"]["stage"] == "key"
    assert (run.told["displayName"], run.told["groupName"], run.told["jobType"]) == ("cnn-lenet5-aa", "cnn-lenet5-aa", "train")
    assert {"2": "*", "6": [1]}.items() <= run.config["_wandb"]["value"]["m"][0].items()  # every figure, against `step`
    assert run.exits[-1] == 0 and any("system.memory_percent" in row for row in run.events)


def test_a_training_killed_and_resumed_offline_is_one_run_with_each_step_once(tmp_path, server, offline, monkeypatch):
    """Then its model is promoted; `modelyard sync` sends run and promotion, in this order, once."""
    training = Training(tmp_path)
    offline()
    training.write(1, 2, 3)
    tracking = training.begin()
    assert tracking._tracker is not None
    tracking._tracker.finish({}, exit_code=1)  # the run failed after step 3; its row may not be whole, so that it is not logged
    assert tracking.close() is None
    training.write(1, 2, 3, 4)  # resumed from a checkpoint at step 2
    tracking = training.begin()
    assert until(lambda: len(pieces(tmp_path / "runs")) == 2)
    kill(tracking)  # what W&B had not written is lost with it
    training.write(1, 2, 3, 4, 5, 6)
    tracking = training.begin()
    command_lines = [part for process in psutil.process_iter(["cmdline"]) for part in process.info["cmdline"] or []]
    assert training.finish(tracking) is None
    first, killed, last = pieces(tmp_path / "runs")
    assert {piece.identifier for piece in (first, killed, last)} == {IDENTIFIER}
    assert steps_of(first) == [1, 2] and sorted(steps_of(killed) + steps_of(last)) == [3, 4, 5, 6]
    weights = tmp_path / "stages" / "train" / "key" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    order = {
        "model": "lenet5",
        "version": 3,
        "files": [weights],
        "metadata": {"accuracy": 0.5},
        "aliases": ["champion", "v3"],
        "tracking_id": IDENTIFIER,
    }
    assert "modelyard sync" in str(mirror(SPEC.tracking, tmp_path, order)) and server.requests == 0
    with pytest.raises(UserError, match="not a W&B key"):
        training.sync()
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    asked = wandb_sync.sync(tmp_path, None, dry_run=True, announce=print)
    assert list(asked.left) == [f"cnn-lenet5-aa ({IDENTIFIER})", "lenet5-3"] and server.requests == 0
    outcome = training.sync()
    assert list(outcome.sent) == list(asked.left) and not outcome.left and not outcome.failed
    require_whole(server.runs[IDENTIFIER], 1, 2, 3, 4, 5, 6)
    (artifact,) = server.artifacts
    assert (
        artifact.state == "COMMITTED"
        and artifact.files == {"model.safetensors": b"weights"}
        and json.loads(artifact.told["metadata"]) == {"accuracy": 0.5}
    )
    assert (artifact.told["runName"], artifact.told["artifactTypeName"]) == (IDENTIFIER, "model")
    (link,) = artifact.links
    assert (link["projectName"], link["artifactPortfolioName"]) == ("wandb-registry-model", "lenet5")
    assert [told["alias"] for told in link["aliases"]] == ["version-3", "champion"]
    requests = server.requests
    assert training.sync() == wandb_sync.Outcome() and server.requests == requests and waiting(tmp_path) == []
    assert not any(KEY in part for part in command_lines) and not [
        path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()
    ]


@pytest.mark.parametrize("behaviour", ["fails", "refuses"])
def test_a_server_that_goes_away_in_the_middle(behaviour, tmp_path, server):
    """502, which W&B tries again for hours, or 401, which it takes without a word: the tracker ends in time and says so, and sync sends the rest."""
    training = Training(tmp_path)
    spec = compose(ROOT, ["tracking.finish_timeout_seconds=8"])
    training.write(1, 2, 3)
    tracking = training.begin(spec)
    assert until(lambda: IDENTIFIER in server.runs and len(server.runs[IDENTIFIER].history) == 2)
    server.behaviour = behaviour
    training.write(1, 2, 3, 4, 5)
    assert "`modelyard sync` sends the rest" in str(training.finish(tracking))
    assert len(server.runs[IDENTIFIER].history) == 2
    if behaviour == "fails":
        with pytest.raises(UserError, match="W&B does not answer"):
            training.sync()
    else:
        assert list(training.sync().failed) == [f"cnn-lenet5-aa ({IDENTIFIER})"]
    server.behaviour = "answers"
    assert list(training.sync().sent) == [f"cnn-lenet5-aa ({IDENTIFIER})"]
    require_whole(server.runs[IDENTIFIER], 1, 2, 3, 4, 5)
    assert training.sync() == wandb_sync.Outcome()


def test_a_preempted_online_run_goes_on_as_the_same_run(tmp_path, server):
    training = Training(tmp_path)
    training.write(1, 2, 3)
    tracking = training.begin()
    assert until(lambda: IDENTIFIER in server.runs and len(server.runs[IDENTIFIER].history) == 2)
    kill(tracking)
    training.write(1, 2, 3, 4, 5)
    assert training.finish(training.begin()) is None
    assert list(server.runs) == [IDENTIFIER]
    require_whole(server.runs[IDENTIFIER], 1, 2, 3, 4, 5)
    assert training.sync() == wandb_sync.Outcome()  # the server had the rest from the second attempt


def test_a_server_that_refuses_from_the_start_is_tracked_offline(tmp_path, server):
    training = Training(tmp_path)
    server.behaviour = "refuses"
    training.write(1, 2)
    assert "`modelyard sync` sends the rest" in str(training.finish(training.begin()))
    (piece,) = pieces(tmp_path / "runs")
    assert piece.offline and steps_of(piece) == [1, 2] and not server.runs
    server.behaviour = "answers"
    training.sync()
    require_whole(server.runs[IDENTIFIER], 1, 2)


def test_a_pipeline_run_whose_server_goes_away_ends_well_and_is_sent_later(make_workspace: Callable[[], Workspace]):
    """The whole command line, its secrets looked for in everything that it leaves."""
    workspace = make_workspace()
    with wandb_server() as server:
        server.fails_after_rows = 1
        environment = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.url}
        done = workspace.run("run", "cluster=inline", "debug=fast", "tracking.finish_timeout_seconds=8", **environment)
        assert done.returncode == 0 and "`modelyard sync` sends the rest" in done.stdout, done.stdout + done.stderr
        refused = workspace.run("sync")
        assert refused.returncode == 2 and "not a W&B key" in refused.stderr and "Traceback" not in refused.stderr
        server.behaviour, server.fails_after_rows = "answers", None
        sent = workspace.run("sync", **environment)
        assert sent.returncode == 0, sent.stdout + sent.stderr
        assert "nothing to send" in workspace.run("sync", **environment).stdout
    (run,) = server.runs.values()
    (directory,) = (workspace.root / "store" / "runs").iterdir()
    told = json.loads((directory / "run.json").read_text())
    steps = [row["step"] for row in run.history]
    assert steps == sorted(set(steps)) and steps and all("samples_per_second" in row for row in run.history)
    assert all(run.summary[f"test/{name}"] == pytest.approx(value) for name, value in told["metrics"]["test"].items())
    assert run.files[run.summary["report"]["path"]] == next((workspace.root / "store" / "stages" / "report").glob("*/report.html")).read_bytes()
    origin = run.config["origin"]["value"]
    assert origin["run_id"] == told["run_id"] and origin["data"] == told["data"] and origin["git"] == told["git"] and origin["prefect_flow_run_id"]
    held = [path for path in (workspace.root / "store").rglob("*") if path.is_file() and not path.is_symlink() and KEY.encode() in path.read_bytes()]
    assert held == [] and KEY not in done.stdout + done.stderr + sent.stdout + sent.stderr
