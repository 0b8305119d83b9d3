"""`modelyard run` against `dvc repro`, both with nothing to do, in turns."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.project import Taken, copy_project, environment, timed

REPEATS = 5
RUN = [sys.executable, "-m", "flows", "run", "cluster=inline", "debug=fast", "tracking=disabled", "--json"]
DVC = [sys.executable, "-m", "dvc"]
STAGES = ("data", "check", "train", "evaluate", "report")
OURS, FIVE = "modelyard run, five stages", "dvc repro, five generated stages"

Contender = Callable[[], Taken]


def measure(repeats: int = REPEATS) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return rows and notes: medians, and ratios taken within a turn."""
    with tempfile.TemporaryDirectory() as folder:
        project, plain = copy_project(Path(folder) / "project"), dvc_project(Path(folder) / "plain")
        contenders: dict[str, Contender] = {
            OURS: lambda: unchanged_run(project),
            FIVE: lambda: timed([*DVC, "repro"], plain),
            "dvc repro, our two data stages": lambda: timed([*DVC, "repro", "prepare@digits"], project),
        }
        timed(RUN, project)  # does the work
        return table([_turn(contenders, i) for i in range(repeats)])


def unchanged_run(project: Path) -> Taken:
    """Run our command where everything is done already."""
    taken = timed(RUN, project)
    statuses = {stage["status"] for stage in json.loads(taken.output.splitlines()[-1])["stages"].values()}
    assert statuses == {"reused"}, f"something had to run: {statuses}"
    return taken


def dvc_project(folder: Path) -> Path:
    """Write a DVC project of five stages, each of which makes three small files of the one's before it, and run it once."""
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump({stage: {"value": 1} for stage in STAGES}))
    script = "import sys, pathlib; d = pathlib.Path(sys.argv[1]); d.mkdir(); [(d / f'{i}.txt').write_text(sys.argv[1] * 100) for i in range(3)]"
    (folder / "make.py").write_text(script)
    stages = {}
    for before, stage in zip((None, *STAGES), STAGES, strict=False):
        deps = ["make.py"] if before is None else ["make.py", before]
        stages[stage] = {"cmd": f"{sys.executable} make.py {stage}", "deps": deps, "params": [f"{stage}.value"], "outs": [stage]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    for command in (["git", "init", "-q"], [*DVC, "init", "-q"], [*DVC, "repro", "-q"]):
        subprocess.run(command, cwd=folder, env=environment(folder), check=True, capture_output=True)
    return folder


def _turn(contenders: dict[str, Contender], number: int) -> dict[str, Taken]:
    """Let each run once, in another order each time."""
    names = list(contenders)
    start = number % len(names)
    return {name: contenders[name]() for name in [*names[start:], *names[:start]]}


def table(turns: list[dict[str, Taken]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a row a contender, and the figures of each turn as notes."""
    rows = []
    for name in (OURS, *(n for n in sorted(turns[0]) if n != OURS)):
        ratios = [turn[name].wall_seconds / turn[FIVE].wall_seconds for turn in turns]
        rows.append(
            {
                "command": name,
                "wall s": statistics.median(turn[name].wall_seconds for turn in turns),
                "CPU s": statistics.median(turn[name].cpu_seconds for turn in turns),
                "ratio to DVC": statistics.median(ratios),
                "least": min(ratios),
                "greatest": max(ratios),
                "CPU ratio": statistics.median(turn[name].cpu_seconds / turn[FIVE].cpu_seconds for turn in turns),
            }
        )
    figures = [{name: [round(t.wall_seconds, 3), round(t.cpu_seconds, 3)] for name, t in turn.items()} for turn in turns]
    return rows, {"repeats": len(turns), "turns (wall, CPU)": figures}
