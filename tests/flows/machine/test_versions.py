"""Versions, on packages that are planted as metadata."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from components.training.doctor.finding import Skipped
from flows.machine import gpu, versions
from tests.flows.machine.conftest import one

NEW = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release Build  (dvs-builder)\nGCC version:  gcc 13.2.0\n"
OLD = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13 16:14:05 UTC 2021\n"


@pytest.fixture
def installed(machine, tmp_path):
    """The machine with exactly these packages: {name: version}, and what they require."""

    def make(versions, **requires):
        for name, version in versions.items():
            folder = tmp_path / "site" / f"{name.replace('-', '_')}-{version}.dist-info"
            folder.mkdir(parents=True)
            lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {r}" for r in requires.get(name, []))]
            (folder / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")
        return replace(machine, packages=[str(tmp_path / "site")])

    return make


@pytest.mark.parametrize(
    ("packages", "faulty"),
    [
        ({"prefect": "3.8.8", "fastapi": "0.165.0"}, "prefect and fastapi"),
        ({"prefect": "3.8.8", "fastapi": "0.151.0"}, "prefect and fastapi"),
        ({"prefect": "3.8.8", "sqlalchemy": "2.1.9"}, "prefect and sqlalchemy"),
        ({"prefect": "3.9.1", "certifi": "2026.10.18"}, "prefect and certifi"),
        ({"hydra-core": "1.3.8", "omegaconf": "2.4.0"}, "hydra-core and omegaconf"),
    ],
)
def test_pairs_that_do_not_work_together(installed, packages, faulty):
    finding = one(versions.pairs(installed(packages)), "fail", faulty)
    assert all(f"{name} {version}" in finding.found for name, version in packages.items())
    assert "pip install" in finding.mend


def test_pairs_that_do(installed):
    found = versions.pairs(
        installed(
            {"prefect": "3.8.8", "fastapi": "0.150.0", "sqlalchemy": "2.0.58", "certifi": "2026.10.18", "hydra-core": "1.3.8", "omegaconf": "2.3.1"}
        )
    )
    assert [f.status for f in found] == ["ok"] * 4
    assert [f.status for f in versions.pairs(installed({}))] == ["ok"] * 4


def test_a_pair_of_which_one_is_missing_is_left_out(installed):
    assert {f.status for f in versions.pairs(installed({"prefect": "3.8.8"}))} == {"skipped"}


def test_what_is_missing_or_refused_by_a_package_is_named(installed, machine):
    (machine.root / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.99"\ndependencies = ["tool[fast]>=2", "absent>=1", "old>=3"]\n')
    given = {"tool": ["part<1", "gone", "unused; extra == 'slow'", "quick; extra == 'fast'", "other; python_version < '3'"]}
    found = one(versions.requirements(installed({"tool": "2.1", "part": "1.5", "old": "2.9"}, **given)), "fail").found
    assert found == "tool wants part<1, and there is 1.5; tool wants gone, which is missing; tool wants quick, which is missing and 2 more"
    assert ">=3.99" in one(versions.python(machine), "fail").expected


def test_without_a_pyproject_nothing_is_asked_for(machine):
    (machine.root / "pyproject.toml").unlink()
    with pytest.raises(Skipped):
        versions.python(machine)


@pytest.mark.parametrize(
    ("text", "cuda", "status"),
    [
        (NEW, "'13.0'", "ok"),
        (NEW, "'12.8'", "ok"),
        (OLD, "'12.8'", "fail"),
        (OLD, "'11.8'", "ok"),
        (NEW, "None", "warn"),
        ("?", "'12.8'", "warn"),
    ],
)
def test_the_driver_against_the_cuda_of_torch(machine, tmp_path, text, cuda, status):
    _plant(machine.proc / "driver/nvidia/version", text)
    _plant(tmp_path / "site/torch/__init__.py", "raise ImportError('not to be imported')")
    _plant(tmp_path / "site/torch/version.py", f"from typing import Optional\n__version__ = '2.13.0'\ncuda: Optional[str] = {cuda}\nhip = None\n")
    one(gpu.driver(replace(machine, packages=[str(tmp_path / "site")])), status)


def test_without_a_gpu_there_is_nothing_to_compare(machine):
    with pytest.raises(Skipped, match="no NVIDIA GPU"):
        gpu.driver(machine)


def _plant(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
