"""A real Prefect server: the deployment of prefect.yaml, served by a worker, triggered through the API; and the command line against it."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime, timedelta

import pytest
from filelock import FileLock

from flows.processes import end_group
from tests.flows.sales import DATA, write_sales
from tests.prefect_stack import Server, wait_until

FAST = ["cluster=inline", "debug=fast", "tracking=disabled"]


@pytest.fixture(scope="module")
def workspace(make_workspace):
    return make_workspace()


@pytest.fixture(scope="module")
def server(workspace):
    server = Server(workspace)
    yield server
    end_group(server.process, signal.SIGINT, 10)


@pytest.fixture(scope="module")
def served(server):
    """The server with a worker and every deployment of prefect.yaml."""
    worker = server.start("worker", "start", "--pool", "modelyard", "--type", "process")  # makes the pool
    wait_until(server.has_pool, 200, "the work pool")
    server.command("--no-prompt", "deploy", "--all")
    server.forget_schedules()
    yield server
    end_group(worker, signal.SIGINT, 15)


@pytest.fixture(scope="module")
def triggered(served):
    """A flow run, asked for through the API and run by a worker."""
    return served.ended(served.trigger("pipeline/on-demand", overrides=FAST))


def test_a_deployed_run_completes(triggered, workspace):
    assert triggered["state_type"] == "COMPLETED", triggered["state"]
    (record,) = (workspace.root / "store" / "runs").glob("*/run.json")
    run = json.loads(record.read_text())
    assert run["status"] == "finished" and {s["status"] for s in run["stages"].values()} == {"ran"}


def test_its_tasks_and_artifacts_are_on_the_server(server, triggered):
    of_this_run = {"flow_runs": {"id": {"any_": [triggered["id"]]}}}
    tasks = {t["name"].rpartition("-")[0] for t in server.ask("task_runs/filter", of_this_run)}
    assert tasks == {"data", "check", "train", "evaluate", "report"}
    artifacts = {a["type"]: a for a in server.ask("artifacts/filter", of_this_run)}
    assert set(artifacts) >= {"markdown", "table"}
    assert "accuracy" in artifacts["markdown"]["data"] + str(artifacts["table"]["data"])


def test_its_logs_are_on_the_server(server, triggered):
    def lines():
        found = server.ask("logs/filter", {"logs": {"flow_run_id": {"any_": [triggered["id"]]}}, "limit": 200})
        return [log["message"] for log in found if log["message"].startswith("train: ran")]

    assert wait_until(lines, 100, "the log line of the train stage")


def test_the_command_line_uses_the_server(server, triggered, workspace):
    """A second run through the same server: the unchanged stages are reused, one is new."""
    result = workspace.result("run", *FAST, "evaluate.batch_size=128", PREFECT_API_URL=server.url)
    assert result["stages"]["data"]["status"] == "reused" and result["stages"]["evaluate"]["status"] == "ran"
    runs = server.ask("flow_runs/filter", {"sort": "START_TIME_DESC", "flows": {"name": {"any_": ["pipeline"]}}})
    assert len(runs) == 2 and {r["state_type"] for r in runs} == {"COMPLETED"}


PLAN = """
models:
  sales: [experiment=linear/regression_gd, data=sales, check=default, trainer.batch_size=64, trainer.duration=20ep, cluster=inline, tracking=disabled]
"""


class Nights:
    """The nights of a workspace: a list of models, data that grow, and what became of it."""

    def __init__(self, server, workspace):
        self.server, self.workspace, self.store = server, workspace, workspace.root / "store"
        (workspace.root / "conf" / "data" / "sales.yaml").write_text(DATA)
        (workspace.root / "conf" / "nightly.yaml").write_text(PLAN)

    def told(self):
        return [json.loads(path.read_text()) for path in sorted((self.store / "nights").glob("[0-9]*.json"))]

    def night(self, **parameters):
        """One night, asked for through the API; its flow run and what became of the one model."""
        run = self.server.ended(self.server.trigger("nightly/nightly", **parameters))
        assert run["state_type"] == "COMPLETED", run["state"]
        return run, self.told()[-1]["outcomes"][0]

    def by_hand(self, *overrides):
        """One night by the command line, whose flows are on the same server; what became of the one model."""
        return self.workspace.result("nightly", "--once", *overrides, PREFECT_API_URL=self.server.url)["outcomes"][0]

    def trainings(self):
        return sorted(path.parent.name for path in self.store.glob("stages/train/*/manifest.json"))


@pytest.fixture(scope="module")
def nights(served, workspace):
    return Nights(served, workspace)


@pytest.fixture(scope="module")
def first_night(served, workspace, nights):
    """What the scheduler made of a schedule: nobody asked for this run."""
    write_sales(workspace.root, 600)
    deployment = f"deployments/{served.ask('deployments/name/nightly/nightly')['id']}"
    soon = (datetime.now(UTC) + timedelta(seconds=15)).isoformat()  # the scheduler looks every 5 s
    served.ask(f"{deployment}/schedules", [{"active": True, "schedule": {"interval": 60, "anchor_date": soon}}])
    told = wait_until(nights.told, 250, "a scheduled night")[0]
    served.ask(f"{deployment}/pause_deployment", {})
    wait_until(lambda: not served.going_on("nightly"), 250, "the end of nights that were scheduled meanwhile")
    return told


def test_a_scheduled_night_trains_and_promotes(first_night, workspace):
    (outcome,) = first_night["outcomes"]
    assert first_night["reason"] == "schedule"
    assert (outcome["status"], outcome["champion"], outcome["trained"]) == ("promoted", 1, True), outcome
    models = workspace.result("models")["models"]
    assert [(m["model"], m["versions"], m["champion"]["version"]) for m in models] == [("sales", 1, 1)]


def test_a_night_with_nothing_new_does_nothing_and_says_so(nights, first_night):
    before = nights.trainings()
    run, outcome = nights.night()
    assert (outcome["status"], outcome["trained"], outcome["champion"]) == ("unchanged", False, 1)
    assert nights.trainings() == before
    artifacts = nights.server.ask("artifacts/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    (digest,) = [a["data"] for a in artifacts if a["key"] == "nightly-digest"]
    assert "Nothing new" in digest and "Nothing was trained" in digest


def test_new_data_bring_a_new_champion(nights, first_night, workspace):
    write_sales(workspace.root, 700)
    outcome = nights.by_hand()
    assert (outcome["status"], outcome["before"], outcome["champion"]) == ("promoted", 1, 2), outcome
    assert outcome["changes"][0].startswith("data sales: ") and outcome["changes"][0].endswith("360 -> 420 training rows")
    assert outcome["gain"]["lower"] <= outcome["gain"]["gain"] <= outcome["gain"]["upper"]
    verdict = json.loads((nights.store / "models" / "sales" / "versions" / "0002" / "version.json").read_text())["gate"]
    # A random key a row splits the table: those that were there stay where they were.
    assert verdict["rows"] == 210 and verdict["compared_rows"] > 200
    assert "champion is gone" not in verdict["findings"][0]["detail"]  # its data, which the newest have replaced, came from DVC's cache


def test_a_worse_candidate_is_refused_with_the_interval(nights, first_night):
    """One step of gradient descent from zero: far from the minimum of J, whose floor is half the noise's variance, 0.125."""
    _, outcome = nights.night(overrides=["trainer.duration=1st"], reason="a test")
    champion = outcome["champion"]
    assert outcome["status"] == "refused" and champion == outcome["before"]
    assert outcome["gain"]["upper"] < 0 and outcome["gain"]["champion"] < 0.2 < outcome["gain"]["candidate"]
    assert any(reason.startswith("loss: ") and f"[{outcome['gain']['lower']:+.4f}, " in reason for reason in outcome["reasons"])
    again = nights.by_hand("trainer.duration=1st")
    assert (again["status"], again["trained"]) == ("refused", False)  # the same data and configuration are not trained twice


def test_data_that_drifted_bring_a_night_of_their_own(nights, first_night, workspace):
    """The flow emits an event, the server's automation hears it and asks for a night; the same data do not ask twice."""
    write_sales(workspace.root, 700, price=2.0)
    looked = nights.server.ended(nights.server.trigger("drift/drift"))
    assert looked["state_type"] == "COMPLETED", looked["state"]

    def by_drift():
        return [told for told in nights.told() if told["reason"] == "drift"]

    (night,) = wait_until(by_drift, 250, "the night that drift asks for")
    assert [o["model"] for o in night["outcomes"]] == ["sales"]
    asked = json.loads((nights.store / "drift" / "sales.json").read_text())
    (data,) = asked["asked"]
    price = next(f for f in asked["look"]["found"]["features"] if f["drifted"])
    assert price["value"] > price["threshold"]
    wait_until(lambda: not nights.server.going_on("nightly"), 250, "the night's end")
    (again,) = workspace.result("drift")["models"]
    assert again["newest"] == data and not again["retrain"]


def test_a_cancelled_night_leaves_no_process(nights, first_night, workspace):
    """Cancelled in the middle of a training on two Ray workers. Its process reports a crash, Prefect's runner then what it was."""
    before = {process.pid for process in workspace.processes()}
    overrides = ["cluster=local", "trainer.duration=1000000ep", "trainer.validate_every=1000ep", "trainer.checkpoint_every=100ep"]
    run = nights.server.trigger("nightly/nightly", overrides=overrides)
    wait_until(lambda: list(nights.store.glob("stages/train/*.partial/checkpoints/step_*")), 250, "a checkpoint")
    nights.server.ask(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    wait_until(lambda: nights.server.flow_run(run)["state_type"] == "CANCELLED", 200, "the cancellation")
    wait_until(lambda: {process.pid for process in workspace.processes()} <= before, 100, "the end of every process of the night")
    assert not list((nights.store / "mailboxes").glob("*")) and not list((nights.store / "leases").glob("train-*"))
    assert (nights.told()[-1]["interrupted"], nights.told()[-1]["outcomes"]) == ("sales", [])


def test_a_model_that_fails_does_not_cost_the_others_theirs(nights, first_night, workspace):
    plan = workspace.root / "conf" / "nightly.yaml"
    broken = "  broken: [experiment=linear/regression_gd, data=sales, check=default, optimizer.lr=-1, cluster=inline, tracking=disabled]\n"
    plan.write_text(PLAN.replace("models:\n", f"models:\n{broken}"))
    done = workspace.run("nightly", "--once", "--json", PREFECT_API_URL=nights.server.url)
    plan.write_text(PLAN)
    assert done.returncode == 1, done.stderr
    found = {o["model"]: o for o in json.loads(done.stdout.splitlines()[-1])["outcomes"]}
    assert found["broken"]["status"] == "failed" and "Invalid learning rate: -1" in found["broken"]["reasons"][0]
    assert found["sales"]["status"] in {"unchanged", "promoted", "refused"}


def test_two_nights_at_once_are_one(nights, first_night, workspace):
    with FileLock(nights.store / "nights" / ".lock"):
        done = workspace.run("nightly", "--once")
    assert done.returncode == 1 and "another night is at work on this store" in done.stderr
