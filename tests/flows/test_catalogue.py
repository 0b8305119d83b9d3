"""`modelyard list` and `modelyard repeat`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from components.errors import UserError
from flows.catalogue import catalogue, catalogue_text
from flows.repeat import parse_over, repeat, repeat_text, spread

ROOT = Path(__file__).parents[2]
SHORT = ("debug=inline", "tracking=disabled", "trainer.duration=3st", "evaluate.max_batches=1")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with the configuration alone."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recorded(project, experiment, run, accuracy, **changes):
    folder = project / "store" / "runs" / f"{experiment.replace('/', '-')}-{run}"
    folder.mkdir(parents=True)
    spec = {"data": {"name": "digits"}, "expect": [{"metric": "test/accuracy"}]}
    record = {"run_id": folder.name, "experiment": experiment, "status": "finished", "spec": spec, "metrics": {"test": {"accuracy": accuracy}}}
    (folder / "run.json").write_text(json.dumps({**record, **changes}))


def test_the_list_holds_every_experiment_with_its_best_finished_run(project):
    recorded(project, "cnn/lenet5", "aaaa", 0.96)
    recorded(project, "cnn/lenet5", "bbbb", 0.98)
    recorded(project, "cnn/lenet5", "cccc", 0.99, status="failed")
    recorded(project, "cnn/lenet5", "dddd", 1.0, spec={"data": {"name": "digits"}, "expect": []})  # debug=fast expects nothing
    rows = {row["experiment"]: row for row in catalogue()}
    assert set(rows) == {p.relative_to(project / "conf/experiment").with_suffix("").as_posix() for p in (project / "conf/experiment").rglob("*.yaml")}
    assert all(row["description"] and row["source"] and row["state"] for row in rows.values())
    lenet = rows["cnn/lenet5"]
    assert lenet["family"] == "cnn" and lenet["data"] == "digits" and lenet["expected"] == "test/accuracy >= 0.97"
    assert lenet["best"] == {"metric": "test/accuracy", "value": 0.98, "run_id": "cnn-lenet5-bbbb", "met": True, "runs": 2}
    assert "best of 2: 0.98, met (cnn-lenet5-bbbb)" in catalogue_text([lenet])


def test_an_experiment_that_does_not_compose_does_not_hide_the_others(project):
    folder = project / "conf" / "experiment" / "cnn"
    for other in set(folder.parent.iterdir()) - {folder}:
        shutil.rmtree(other)
    (folder / "broken.yaml").write_text((folder / "lenet5.yaml").read_text().replace("duration:", "duraton:"))
    rows = {row["experiment"]: row for row in catalogue()}
    assert "unknown key 'trainer.duraton'" in rows["cnn/broken"]["description"] and rows["cnn/lenet5"]["data"] == "digits"
    assert "cnn/broken" not in catalogue_text([rows["cnn/lenet5"]])


def test_what_to_repeat_over():
    assert parse_over("seed=0..3") == ("seed", ["0", "1", "2", "3"])
    assert parse_over("data=mnist,digits") == ("data", ["mnist", "digits"])
    for wrong in ("seed", "seed=", "seed=3..0", "=1,2", "seed=1,1"):
        with pytest.raises(UserError, match="--over"):
            parse_over(wrong)


def test_the_spread_is_the_sample_s():
    found = spread([{"test": {"a": value, **extra}} for value, extra in ((2.0, {"b": 1.0}), (4.0, {"b": 1.0}), (9.0, {}))])
    assert found == {"test": {"a": {"mean": 5.0, "deviation": pytest.approx(13**0.5), "minimum": 2.0, "maximum": 9.0, "count": 3}}}


def test_a_run_for_each_seed_and_the_data_once(make_workspace, monkeypatch):
    workspace = make_workspace()
    monkeypatch.chdir(workspace.root)
    for name, value in workspace.env.items():
        monkeypatch.setenv(name, value)
    said = []
    result = repeat(list(SHORT), "seed=1,2", said.append)
    assert [run["value"] for run in result["runs"]] == ["1", "2"] and len({run["run_id"] for run in result["runs"]}) == 2
    losses = [run["metrics"]["test"]["loss"] for run in result["runs"]]
    assert result["spread"]["test"]["loss"]["mean"] == pytest.approx(sum(losses) / 2) and losses[0] != losses[1]
    assert said.count("data: ran in") == 0 and sum(line.startswith("data: ran") for line in said) == 1
    assert "test/loss" in repeat_text(result)
    assert repeat(list(SHORT), "seed=1,2")["runs"] == result["runs"]  # from the store
