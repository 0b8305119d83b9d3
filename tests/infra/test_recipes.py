"""Ray's launcher files, scripts, container files: valid to the tools that take them, and without secrets."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
SCRIPTS = sorted([*INFRA.rglob("*.sh"), *INFRA.rglob("*.sbatch")])
# An assignment of something long and random to a name that means a secret; and the forms of well-known keys.
SECRET = re.compile(
    r"""(?ix) (?: (?:token|secret|passw(?:or)?d|api[_-]?key|auth[_-]?string) ["']? \s* [:=] \s* ["']? (?=[^\s"']*\d) [A-Za-z0-9+/_-]{16,}
    | AKIA[0-9A-Z]{16} | ghp_\w{36} | -----BEGIN\ [A-Z ]*PRIVATE | ://[^/\s:@{}$]+:[^/\s@{}$]+@ )"""
)


@pytest.mark.parametrize("path", sorted((INFRA / "ray").glob("*.yaml")), ids=lambda p: p.name)
def test_rays_launcher_takes_it(path):
    schema = Path(importlib.util.find_spec("ray").origin).parent / "autoscaler" / "ray-schema.json"
    cluster = yaml.safe_load(path.read_text())
    jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(cluster)
    for command in (*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]):
        assert "ray stop" in command or command.startswith("RAY_AUTH_MODE=token "), command


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_bash_reads_it(path):
    subprocess.run(["bash", "-n", path], check=True)


def test_slurm_would_take_the_job():
    if shutil.which("sbatch") is None or subprocess.run(["sinfo"], capture_output=True, timeout=60).returncode:
        pytest.skip("needs a Slurm cluster; infra/README.md says how the script was tried on one")
    options = ["--nodes=1", "--cpus-per-task=1", "--time=5"]
    done = subprocess.run(["sbatch", "--test-only", *options, INFRA / "slurm" / "train.sbatch"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_container_files_differ_where_they_say():
    cpu, gpu = ((INFRA / "containers" / f"Containerfile.{kind}").read_text().splitlines() for kind in ("cpu", "gpu"))
    ours = [line for line in cpu if line not in gpu and not line.startswith("#")]
    theirs = [line for line in gpu if line not in cpu and not line.startswith("#")]
    assert [line.split()[0] for line in ours] == ["&&", "ARG"] and [line.split()[0] for line in theirs] == ["&&", "ENV"]
    for lines in (cpu, gpu):
        assert "USER 1000" in lines and not any(line.startswith("USER root") for line in lines)
        assert any("--constraint constraints.txt" in line for line in lines)


def test_no_image_holds_what_may_be_secret():
    ignored = (ROOT / ".containerignore").read_text().split()
    assert {".git", ".stack", ".env", ".netrc", "/data", "/store"} <= set(ignored)


def test_no_secret_stands_in_infra_or_conf():
    files = [path for folder in (INFRA, ROOT / "conf") for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert len(files) > 100
    found = [f"{path}: {match[0]}" for path in files for match in SECRET.finditer(path.read_text())]
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        "RAY_AUTH_TOKEN: 3f9c2b7a1d5e4f60a8b9",
        "WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567",
        'password = "correct-h0rse-battery"',
        "postgresql+asyncpg://prefect:hunter2@db/prefect",
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)
def test_a_secret_would_be_found(text):
    assert SECRET.search(text)
