"""Who may import whom, by reading every file; and that importing does nothing else."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORCHESTRATION = {"ray", "prefect", "dvc", "wandb", "hydra", "omegaconf"}
ROOMS = {  # room of components/ -> the rooms that it may import; errors, files and spec are everybody's
    "data": set(),
    "optim": set(),
    "layers": set(),
    "models": {"layers"},
    "losses": {"layers", "decoding"},
    "metrics": {"layers", "decoding"},
    "decoding": {"layers"},
    "tasks": {"models", "losses", "metrics", "decoding", "layers", "data"},
    "training": {"tasks", "models", "losses", "metrics", "decoding", "layers", "data", "optim"},
    "procedures": {"training", "tasks", "models", "losses", "metrics", "decoding", "layers", "data"},
    "reporting": {"training", "metrics", "data"},
    "export": {"training", "tasks", "models", "losses", "metrics", "decoding", "layers", "data"},
    "drift": {"data"},
    "gate": {"training", "data"},
    "spec": set(),
    "errors": set(),
    "files": set(),
}
COMMON = {"errors", "files", "spec"}
COMPONENTS = sorted((ROOT / "components").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Every dotted name that a file imports, inside functions too; relative ones made absolute."""
    names: set[str] = set()
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])]) if node.level else node.module or ""
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def test_the_reader_sees_imports_inside_functions():
    assert "flows.adapters.dvc" in imported(ROOT / "flows" / "run.py")  # it stands in a method
    assert "torch.nn.functional" in imported(ROOT / "components" / "losses" / "classification.py")


@pytest.mark.parametrize("path", COMPONENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_components_import_no_orchestration_and_arrows_run_downward(path):
    names = imported(path)
    assert not {name for name in names if name.partition(".")[0] in ORCHESTRATION | {"flows"}}
    room = path.relative_to(ROOT / "components").parts[0].removesuffix(".py")
    if room == "__init__":
        assert not names
        return
    rooms = {name.split(".")[1] for name in names if name.startswith("components.")}
    assert rooms <= ROOMS[room] | COMMON | {room}


def test_files_and_errors_stand_on_the_standard_library():
    for name in ("errors", "files"):
        tops = {n.partition(".")[0] for n in imported(ROOT / "components" / f"{name}.py")}
        assert tops <= sys.stdlib_module_names


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_component_imports_where_no_orchestration_is_installed_and_leaves_no_trace():
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in COMPONENTS]
    modules = [m for m in modules if not m.endswith("__main__")]
    assert len(modules) > 30
    out = python(
        f"""
import importlib, json, os, random, sys, threading
blocked, modules = {sorted(ORCHESTRATION | {"flows"})!r}, {modules!r}
for name in blocked:
    sys.modules[name] = None
import numpy, torch
def traces():
    return (dict(os.environ), os.getcwd(), random.getstate(), str(numpy.random.get_state()), torch.get_rng_state().tolist(),
            torch.get_num_threads(), str(torch.get_default_dtype()), torch.is_grad_enabled())
before = traces()
for name in modules:
    importlib.import_module(name)
after = traces()
print(json.dumps([i for i, (a, b) in enumerate(zip(before, after)) if a != b]))
"""
    )
    assert json.loads(out) == []


def test_the_fast_path_imports_nothing_heavy():
    """What an unchanged `modelyard run` needs before it knows that nothing is to be done."""
    out = python(
        """
import json, sys
import flows.cli, flows.open, flows.run, flows.stages, flows.store, flows.compose, flows.plan, flows.workers, flows.progress
from flows.compose import compose
from flows.stages import identity
from pathlib import Path
identity(compose(Path.cwd(), ["debug=inline"]))
heavy = ("torch", "ray", "prefect", "wandb", "dvc", "numpy", "sklearn", "matplotlib", "pandas")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
    )
    assert json.loads(out) == []
