"""CONTRIBUTING.md promises that a system costs two files: write just those that it shows, and train."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_two_files_of_contributing_are_a_system(make_workspace):
    text = (ROOT / "CONTRIBUTING.md").read_text()
    (module,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (experiment,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    workspace = make_workspace()
    for name, content in (("components/models/linear/linear.py", module), ("conf/experiment/linear/linear.yaml", experiment)):
        (workspace.root / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace.root / name).write_text(content)
    listed = {e["experiment"]: e for e in workspace.result("list")["experiments"]}
    assert listed["linear/linear"]["source"] == "003 C7"
    assert workspace.result("plan", "experiment=linear/linear")["parameters"] == 64 * 10 + 10
    result = workspace.result("run", "experiment=linear/linear", "cluster=inline", "tracking=disabled")
    assert [e["met"] for e in result["expectations"]] == [True]
    assert result["run_id"].startswith("linear-linear-")
