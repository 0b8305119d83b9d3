"""The hash of code: on a copy of the project, changed as a person would change it."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LENET5 = "components.models.cnn.lenet5"
JOBS = "components.training.jobs"


@pytest.fixture
def project(tmp_path):
    for room in ("components", "flows"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def fingerprint(project: Path, *modules: str, options: tuple[str, ...] = ("-B",)) -> dict[str, str]:
    """In a process of its own; -B: as without a memory, which lies beside the byte code."""
    code = f"import json, sys; from flows.code import fingerprint; print(json.dumps([fingerprint({modules!r}), 'torch' in sys.modules]))"
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
    done = subprocess.run([sys.executable, *options, "-c", code], cwd=project, env=environment, capture_output=True, text=True, check=True)
    found, torch_imported = json.loads(done.stdout)
    assert not torch_imported
    return found


def edit(project: Path, module: str, before: str, after: str) -> None:
    path = project / (module.replace(".", "/") + ".py")
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_it_reaches_the_modules_that_a_stage_uses_and_no_library(project):
    found = fingerprint(project, JOBS, "torch.optim")
    assert {JOBS, "components.training.loop", "components.data.draws", "components.metrics.base", "components", "components.data"} <= set(found)
    assert all(name.partition(".")[0] in ("components", "flows") for name in found)
    assert "components.reporting.page" not in found and LENET5 not in found
    assert "flows.adapters.dvc" in fingerprint(project, "flows.run")  # imported inside a method
    assert list(found) == sorted(found)


def test_comments_docstrings_and_format_leave_it(project):
    before = fingerprint(project, LENET5)
    edit(project, LENET5, "Two 5 x 5 convolutions", "Two convolutions of 5 x 5")
    edit(project, LENET5, "(B, C, 32, 32) -> logits (B, K).", "Give logits.")
    edit(project, LENET5, "from __future__", "# a comment\nfrom __future__")
    assert fingerprint(project, LENET5) == before
    path = project / "components/models/cnn/lenet5.py"
    path.write_text(ast.unparse(ast.parse(path.read_text())))  # every line break and quote anew, comments gone
    assert fingerprint(project, LENET5) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [("16 * 5 * 5, 120", "16 * 5 * 5, 121"), ("nn.ReLU()", "nn.GELU()"), ("num_classes: int = 10", "num_classes: int = 11")],
)
def test_a_change_of_code_changes_its_module_alone(project, old, new):
    before = fingerprint(project, LENET5, JOBS)
    edit(project, LENET5, old, new)
    after = fingerprint(project, LENET5, JOBS)
    assert {m for m in before if before[m] != after[m]} == {LENET5} and set(before) == set(after)


def test_a_change_far_below_is_seen(project):
    before = fingerprint(project, JOBS)
    edit(project, "components.data.draws", "_FLOAT_BITS = 24", "_FLOAT_BITS = 23")
    after = fingerprint(project, JOBS)
    assert {m for m in before if before[m] != after[m]} == {"components.data.draws"}


def test_what_a_package_does_when_it_is_imported_is_code_too(project):
    before = fingerprint(project, LENET5)
    (project / "components/models/__init__.py").write_text('"""Models."""\nimport components.losses.classification\n')
    after = fingerprint(project, LENET5)
    assert before["components.models"] != after["components.models"] and "components.losses.classification" in after


def test_what_is_remembered_changes_no_hash(project):
    truth = fingerprint(project, LENET5, JOBS)
    assert not list(project.rglob("*.found.json"))
    assert fingerprint(project, LENET5, JOBS, options=()) == truth
    (memory,) = project.rglob("*.found.json")
    assert memory.parent.name == "__pycache__" and set(truth.values()) == {code for code, _ in json.loads(memory.read_text())["entries"].values()}
    assert fingerprint(project, LENET5, JOBS, options=()) == truth
    edit(project, LENET5, "16 * 5 * 5, 120", "16 * 5 * 5, 121")
    after = fingerprint(project, LENET5, JOBS, options=())
    assert {m for m in truth if truth[m] != after[m]} == {LENET5}
    assert after == fingerprint(project, LENET5, JOBS)


def test_a_memory_that_is_damaged_or_another_version_s_is_none(project):
    truth = fingerprint(project, LENET5, options=())
    (memory,) = project.rglob("*.found.json")
    plain = json.loads(memory.read_text())
    wrong = {key: ["0" * 16, []] for key in plain["entries"]}
    for text in ("{", "[]", json.dumps({"by": "another", "entries": wrong}), json.dumps({"by": plain["by"], "entries": [1]})):
        memory.write_text(text)
        assert fingerprint(project, LENET5, options=()) == truth
    assert json.loads(memory.read_text()) == plain
