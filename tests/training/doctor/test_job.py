"""The doctor as a whole: LeNet-5 on small images, and a model that cannot make a step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from components.errors import UserError
from components.spec.parse import to_plain
from components.training.doctor.job import CHECKS, doctor, examine
from components.training.session import LocalSession
from flows.compose import compose
from tests.training.doctor.conftest import SOUND, mlp, system

ROOT = Path(__file__).parents[3]
KEYS = {"check", "name", "status", "found", "expected", "mend", "seconds"}


def by_name(result):
    return {row["name"]: row for row in result["checks"]}


def test_lenet_is_sound_and_nothing_else_changes(write, splits):
    spec = to_plain(compose(ROOT, ["debug=inline", "model.num_classes=3", "trainer.batch_size=16"]))
    given = {"spec": spec, "data": str(write(splits))}
    torch.manual_seed(5)
    before, files = torch.get_rng_state(), sorted(Path(given["data"]).iterdir())
    result = doctor(LocalSession(), given)
    assert torch.equal(before, torch.get_rng_state()) and sorted(Path(given["data"]).iterdir()) == files
    assert [row for row in result["checks"] if row["status"] in ("warn", "fail")] == [] and result["failed"] == 0
    assert all(set(row) == KEYS for row in result["checks"])
    assert json.loads(json.dumps(result)) == result  # plain data
    assert 0 < result["seconds"] < 100  # one or two where nothing else runs
    assert {row["check"] for row in result["checks"]} >= {f"D{n}" for n in (1, 2, 3, 5, 6, 7, 9, 10, 11, 12, 13, 15, 16, 17, 18, 19, 20)}
    assert {row["name"] for row in result["checks"] if row["status"] == "skipped"} == {"loss terms", "prime images", "no look ahead"}


def test_the_verdicts_are_the_same_twice(patient):
    first, second = (examine(patient(SOUND, "optimizer.lr=0")) for _ in range(2))

    def verdicts(result):
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in result["checks"]]
        return [row for row in rows if row["check"] != "D3"]  # which says how long a step took

    assert verdicts(first) == verdicts(second)
    assert {row["name"] for row in first["checks"] if row["status"] == "fail"} == {"frozen parameters", "overfit one sample", "overfit ten samples"}
    assert first["failed"] == 3
    assert by_name(first)["random inputs"]["status"] == "skipped"


def test_what_a_model_raises_is_a_finding_and_the_other_checks_go_on(patient):
    wrong = system(lambda: nn.Sequential(nn.Flatten(), nn.Linear(63, 3)))
    result = examine(patient(wrong))
    rows = by_name(result)
    assert rows["overfit ten samples"]["found"].startswith("RuntimeError: mat1 and mat2 shapes cannot be multiplied")
    assert rows["overfit ten samples"]["status"] == "fail" and rows["overfit ten samples"]["mend"]
    assert rows["zero mean, unit variance"]["status"] == "ok" and rows["mixed batches"]["status"] == "ok"
    assert len(result["checks"]) >= len(CHECKS)


def test_bad_input_stays_bad_input(patient):
    with pytest.raises(UserError, match="larger than the data"):
        examine(patient(system(mlp), "trainer.batch_size=1000"))


def test_sound_checks_say_nothing_of_mending(patient):
    result = examine(patient())
    assert all(bool(row["mend"]) == (row["status"] in ("warn", "fail")) for row in result["checks"])
