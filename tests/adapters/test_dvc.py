"""The DVC adapter on a scratch copy of the project: a real `dvc repro`, real data, real damage."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml

from components.data.params import PREPARED, RAW, read_yaml
from components.errors import RunError, UserError
from components.files import sha256_file
from flows.adapters.dvc import prepare, write_params
from tests.processes import runs, spawn, until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A workspace with the project's code, data files and stages, a DVC folder of its own and an empty mirror."""
    root = tmp_path / "project"
    for name in ("components", "conf/data"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "dvc.lock", "params.yaml"):
        shutil.copy(ROOT / name, root / name)
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("MODELYARD_DATA_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    return root


@pytest.fixture
def lines():
    """What the adapter told, in order."""
    return []


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def add_tiny(root, name="tiny", rows=60):
    """Add conf/data/<name>.yaml and its archives to the mirror; returns the file's content."""
    rng, mirror = np.random.default_rng(0), root.parent / "mirror"
    archives, files = {}, {}
    for part, count in (("train", rows), ("t10k", 20)):
        for kind, array in (("images-idx3", rng.integers(0, 256, (count, 4, 4))), ("labels-idx1", np.arange(count) % 2)):
            content = idx(array)
            packed = gzip.compress(content, mtime=0)
            files[f"{part}-{kind}-ubyte"] = hashlib.sha256(content).hexdigest()
            archives[f"{part}-{kind}-ubyte.gz"] = "sha256:" + hashlib.sha256(packed).hexdigest()
            (mirror / f"{part}-{kind}-ubyte.gz").write_bytes(packed)
    plain = {
        "name": name, "title": "Tiny", "licence": "none", "homepage": "none", "num_classes": 2,
        "fetch": {"base_url": "http://127.0.0.1:9/", "archives": archives, "files": files},
        "prepare": {"_target_": "components.data.sources.idx.read_idx", "classes": ["even", "odd"], "validation_rows": 20, "seed": 0},
    }  # fmt: skip
    (root / "conf" / "data" / f"{name}.yaml").write_text(yaml.safe_dump(plain))
    return plain


def outs(folder, stage):
    (out,) = yaml.safe_load((folder / "dvc.lock").read_text())["stages"][stage]["outs"]
    return out["md5"]


def test_the_adapter_imports_neither_torch_nor_dvc():
    code = "import sys, flows.adapters.dvc; print([m for m in ('torch', 'dvc', 'ray', 'prefect', 'hydra') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200).stdout.strip() == "[]"


# params.yaml


def test_the_committed_params_are_what_conf_says(root):
    before = (root / "params.yaml").read_bytes()
    assert write_params(root, read_yaml(root / "conf/data/mnist.yaml")) == "mnist"
    assert (root / "params.yaml").read_bytes() == before


def test_an_unchanged_file_is_not_written_again(root):
    before = (root / "params.yaml").stat()
    write_params(root, read_yaml(root / "conf/data/digits.yaml"))
    after = (root / "params.yaml").stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_defaults_written_out_or_left_out_mean_the_same_data_set(root):
    plain = add_tiny(root)
    written_out = {**plain, "shard_mib": 64, "fetch": {**plain["fetch"], "mirror": {}, "package": None}}
    assert write_params(root, written_out) == write_params(root, plain) == "tiny"


def test_variants_live_side_by_side(root):
    plain = read_yaml(root / "conf/data/digits.yaml")
    keys = [write_params(root, {**plain, "prepare": {**plain["prepare"], "seed": seed}}) for seed in (1, 2, 1, 0)]
    assert keys[0] == keys[2] != keys[1] and keys[3] == "digits"
    assert all(len(key) == len("digits-") + 8 for key in keys[:2])
    data = yaml.safe_load((root / "params.yaml").read_text())["data"]
    assert sorted(data) == sorted([*(path.stem for path in (root / "conf" / "data").glob("*.yaml")), *set(keys[:2])])
    assert data[keys[0]]["prepare"]["seed"] == 1 and list(data) == sorted(data)


def test_a_data_set_whose_file_is_gone_leaves_params(root):
    add_tiny(root)
    write_params(root, read_yaml(root / "conf/data/tiny.yaml"))
    (root / "conf/data/tiny.yaml").unlink()
    write_params(root, read_yaml(root / "conf/data/digits.yaml"))
    assert "tiny" not in yaml.safe_load((root / "params.yaml").read_text())["data"]


def test_parallel_writers_lose_no_variant(root):
    plain = read_yaml(root / "conf/data/digits.yaml")
    keys = []

    def ask(seed):
        keys.append(write_params(root, {**plain, "prepare": {**plain["prepare"], "seed": seed}}))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 8 and set(keys) <= set(yaml.safe_load((root / "params.yaml").read_text())["data"])


def test_a_malformed_data_set_is_told(root):
    with pytest.raises(UserError, match=r"unknown key 'data\.seed'"):
        write_params(root, {**read_yaml(root / "conf/data/digits.yaml"), "seed": 1})


# dvc repro


def test_fresh_data_equal_the_committed_lock_and_a_second_run_does_nothing(root, lines):
    lock = (root / "dvc.lock").read_bytes()
    directory = prepare(root, "digits", lines.append)
    assert directory == root / PREPARED / "digits"
    assert [line.split(":")[0] for line in lines if line.startswith(("fetch ", "prepare "))] == ["fetch digits", "prepare digits"]
    assert outs(root, "prepare@digits") == outs(ROOT, "prepare@digits")
    assert (root / "dvc.lock").read_bytes() == lock  # so a clone stays clean under git
    made = {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}
    again: list[str] = []
    prepare(root, "digits", again.append)
    assert any("didn't change, skipping" in line for line in again) and not any(line.startswith("prepare ") for line in again)
    assert {path.name: path.stat().st_mtime_ns for path in directory.iterdir()} == made
    # A shard that rots is made whole from DVC's cache.
    shard = directory / "train-00000.inputs.npy"
    whole = sha256_file(shard)
    shard.write_bytes(shard.read_bytes()[:-7])
    prepare(root, "digits", lines.append)
    assert sha256_file(shard) == whole


def test_a_new_file_under_conf_is_a_new_stage(root, lines):
    plain = add_tiny(root)
    stages = (root / "dvc.yaml").read_bytes()
    directory = prepare(root, write_params(root, plain), lines.append)
    card = json.loads((directory / "card.json").read_text())
    assert {name: split["rows"] for name, split in card["splits"].items()} == {"train": 40, "validation": 20, "test": 20}
    assert (root / "dvc.yaml").read_bytes() == stages
    # A variant lies beside it, and leaves it as it was.
    variant = prepare(root, write_params(root, {**plain, "prepare": {**plain["prepare"], "validation_rows": 30}}), lines.append)
    assert variant.parent == directory.parent and variant != directory
    assert json.loads((variant / "card.json").read_text())["splits"]["train"]["rows"] == 30
    assert json.loads((directory / "card.json").read_text()) == card


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), r"train-images-idx3-ubyte\.gz is truncated or tampered with"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x01"), r"train-images-idx3-ubyte\.gz is truncated or tampered with"),
        (lambda path: path.unlink(), r"cannot be reached; the mirror .* lacks train-images-idx3-ubyte\.gz"),
    ],
    ids=["truncated", "tampered", "missing"],
)
def test_a_stages_own_message_comes_out_as_a_user_error(root, lines, damage, message):
    key = write_params(root, add_tiny(root))
    damage(root.parent / "mirror" / "train-images-idx3-ubyte.gz")
    with pytest.raises(UserError, match=message) as raised:
        prepare(root, key, lines.append)
    assert raised.value.mend and not (root / RAW / key).exists()


def test_what_is_no_users_mistake_is_a_run_error_with_the_last_lines(root, lines):
    reader = root / "components/data/sources/digits.py"
    reader.write_text(reader.read_text().replace("    path = raw", "    raise ZeroDivisionError('a bug')\n    path = raw"))
    with pytest.raises(RunError, match=r"(?s)exit code 255.*ZeroDivisionError: a bug"):
        prepare(root, "digits", lines.append)


def test_an_unknown_key_is_a_run_error(root, lines):
    with pytest.raises(RunError, match="nothing"):
        prepare(root, "nothing", lines.append)


def slow_reader(root):
    """Make the digits' reader tell its process id and sleep."""
    reader = root / "components/data/sources/digits.py"
    sleep = "    import os, time\n    print('asleep', os.getpid(), flush=True)\n    time.sleep(600)\n    path = raw"
    reader.write_text(reader.read_text().replace("    path = raw", sleep))
    return reader


class Stop(KeyboardInterrupt):
    """Told apart from a real Ctrl-C of the person who runs the tests."""


def test_an_interrupt_ends_the_stages_process_and_the_next_run_completes(root, lines):
    reader = slow_reader(root)

    def interrupt(line):
        lines.append(line)
        if line.startswith("asleep"):
            raise Stop

    with pytest.raises(Stop):
        prepare(root, "digits", interrupt)
    (child,) = [int(line.split()[1]) for line in lines if line.startswith("asleep")]
    assert until(lambda: not runs(child))
    assert not (root / PREPARED / "digits").exists()
    shutil.copy(ROOT / "components/data/sources/digits.py", reader)
    prepare(root, "digits", lines.append)
    assert outs(root, "prepare@digits") == outs(ROOT, "prepare@digits")


def test_ctrl_c_on_a_flow_leaves_no_process(root):
    """A process that runs the adapter and is sent SIGINT, as a terminal would."""
    slow_reader(root)
    call = "prepare(pathlib.Path(sys.argv[1]), 'digits', lambda line: print(line, flush=True))"
    code = f"import sys, pathlib; from flows.adapters.dvc import prepare; {call}"
    flow = subprocess.Popen([sys.executable, "-c", code, str(root)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert flow.stdout is not None
    child = next(int(line.split()[1]) for line in flow.stdout if line.startswith("asleep"))
    flow.send_signal(signal.SIGINT)
    assert flow.wait(timeout=200) != 0
    assert until(lambda: not runs(child))


def test_a_busy_lock_is_waited_for(root, lines):
    """Another DVC holds the stage's output: the entry of a live process of that name in DVC's rwlock, taken away after a while."""
    another = spawn([sys.executable, "-c", "import time; time.sleep(300)", "dvc"])
    rwlock = root / ".dvc" / "tmp" / "rwlock"
    rwlock.parent.mkdir(exist_ok=True)
    held = {"write": {str(root / RAW / "digits"): {"pid": another.pid, "cmd": "dvc repro"}}, "read": {}}
    rwlock.write_text(json.dumps(held))

    def release(line):
        lines.append(line)
        if line.startswith("another DVC process"):
            rwlock.write_text("{}")

    try:
        prepare(root, "digits", release)
    finally:
        another.kill()
        another.wait()
    assert any(line.startswith("another DVC process is busy") for line in lines)
