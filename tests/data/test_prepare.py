"""prepare: definitions are validated, readers called with what they take, and the stage's command line tells mistakes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from components.data.card import Column
from components.data.columns import SourceData
from components.data.params import read_yaml, reader_file
from components.data.prepare import read_source, write_data_set
from components.errors import UserError
from components.spec.parse import parse_data, to_plain

ROOT = Path(__file__).parents[2]


@pytest.fixture
def plain():
    return read_yaml(ROOT / "conf" / "data" / "digits.yaml")


def test_a_definition_survives_its_plain_form(plain):
    definition = parse_data(plain)
    assert parse_data(to_plain(definition)) == definition
    assert reader_file(definition) == "components/data/sources/digits.py" and (ROOT / reader_file(definition)).is_file()


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "data").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_data_file_is_a_definition_named_as_its_file(path):
    definition = parse_data(read_yaml(path))
    assert definition.name == path.stem
    if "classes" in definition.prepare.options:  # else the reader finds them
        assert len(definition.prepare.options["classes"]) == definition.num_classes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"licens": "MIT"}, r"unknown key 'data\.licens', did you mean 'data\.licence'"),
        ({"fetch": {"files": {}, "archives": {}, "packages": "x"}}, r"unknown key 'data\.fetch\.packages', did you mean 'data\.fetch\.package'"),
        ({"fetch": None}, r"data\.fetch must be a mapping"),
        ({"fetch": {"package": "x", "path": "y", "files": {"a": "b"}, "archives": {"a": "b"}}}, "needs one origin"),
        ({"prepare": {"_target_": "os.system"}}, "is not allowed"),
        ({"prepare": {"_target_": "components.optim.schedules.constant", "step": 1, "total_steps": 1}}, "names no reader"),
        ({"prepare": "os.system"}, "does not say what to build"),
    ],
)
def test_a_malformed_definition_is_told(plain, change, message):
    with pytest.raises(UserError, match=message):
        parse_data({**plain, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_fracton": 0.2}, r"unknown key 'data\.prepare\.test_fracton' .*did you mean 'data\.prepare\.test_fraction'"),
        ({"_target_": "components.data.sources.digits.read_digit"}, "did you mean 'read_digits'"),
        ({"_target_": "components.data.sources.nothing.read_x"}, "names a module that does not exist"),
    ],
)
def test_a_reader_or_option_that_does_not_exist_is_told(plain, change, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read_source(parse_data({**plain, "prepare": {**plain["prepare"], **change}}), tmp_path)


def test_a_missing_option_is_told(plain, tmp_path):
    del plain["prepare"]["seed"]
    with pytest.raises(UserError, match=r"missing key 'data\.prepare\.seed'"):
        read_source(parse_data(plain), tmp_path)


def test_the_class_names_must_be_as_many_as_defined(definition, splits, tmp_path):
    columns = {"inputs": Column("uint8", (1, 4, 5)), "targets": Column("int64", classes=("cat", "dog"))}
    with pytest.raises(UserError, match="another number of classes than num_classes"):
        write_data_set(definition, SourceData(columns, splits), {}, tmp_path / "pets")


def test_values_that_are_not_finite_are_refused_and_nothing_is_left(write, splits, tmp_path):
    for split in splits.values():
        split["inputs"] = split["inputs"].astype(np.float32)
    splits["train"]["inputs"][3, 0, 0, 0] = np.nan
    with pytest.raises(UserError, match="not finite"):
        write(splits)
    assert list(tmp_path.iterdir()) == []


def test_a_set_without_training_rows_is_refused(write, splits):
    splits["train"] = {name: column[:0] for name, column in splits["train"].items()}
    with pytest.raises(UserError, match="no training rows"):
        write(splits)


def stage(folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "components.data", *arguments],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip


def test_the_command_line_prepares_and_says_so_in_one_line(tmp_path, plain):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"data": {"digits": plain}}))
    fetched, prepared = stage(tmp_path, "fetch", "digits"), stage(tmp_path, "prepare", "digits")
    assert (fetched.returncode, prepared.returncode) == (0, 0), fetched.stderr + prepared.stderr
    assert fetched.stderr.startswith("fetch digits: 1 files") and fetched.stderr.count("\n") == 1
    assert "1,258 train" in prepared.stderr and prepared.stderr.count("\n") == 1


def test_an_unknown_key_exits_2_with_a_message_and_the_parts_in_a_file(tmp_path, plain):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"data": {"digits": plain}}))
    done = stage(tmp_path, "prepare", "digit", MODELYARD_STAGE_ERROR=str(tmp_path / "error.json"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown data set 'digit', did you mean 'digits'?") and "Traceback" not in done.stderr
    assert json.loads((tmp_path / "error.json").read_text())["mend"] == "add a file under conf/data"


def test_a_disk_that_takes_no_more_exits_2_and_nothing_half_made_is_left(tmp_path, plain):
    """A limit on the size of files stands in for a full disk: both make write() fail, and root is held by it too."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"data": {"digits": plain}}))
    done = subprocess.run(
        ["sh", "-c", f"ulimit -f 64; exec {sys.executable} -B -m components.data fetch digits"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: the data cannot be written: File too large") and "Traceback" not in done.stderr
    assert list((tmp_path / "data" / "raw").iterdir()) == []


def test_an_interrupted_stage_exits_without_a_traceback_and_leaves_nothing(tmp_path, plain):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"data": {"digits": plain}}))
    # A pipe in the place of the raw file: the reader waits in it for ever, so the interrupt meets it there.
    (tmp_path / "data" / "raw" / "digits").mkdir(parents=True)
    os.mkfifo(tmp_path / "data" / "raw" / "digits" / "digits.csv")
    process = subprocess.Popen(
        [sys.executable, "-m", "components.data", "prepare", "digits"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with open(tmp_path / "data" / "raw" / "digits" / "digits.csv", "wb"):  # returns once the reader has opened its end
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=200)
    assert process.returncode == 130 and told == ""
    assert not (tmp_path / "data" / "prepared" / "digits").exists()
