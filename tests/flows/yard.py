"""A project of its own with one table, whose runs are carried out in this process: all is real but DVC and Prefect, which take seconds each."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from components.data.prepare import prepare
from components.files import digest
from flows import stages
from flows.nightly.night import night
from flows.open import open_run
from flows.registry.candidate import Candidate, candidate_of
from flows.run import PipelineRun
from flows.store import Partial, Store
from tests.flows.sales import DATA
from tests.flows.stores import PROJECT

OVERRIDES = (
    *("experiment=linear/regression_gd", "data=sales", "check=default", "trainer.batch_size=64", "trainer.duration=20ep", "optimizer.lr=0.1"),
    *("cluster=inline", "tracking=disabled"),
)


class Yard:
    """The project, and what one does in it. The current folder is the project's while it is used.

    Args:
        root: an empty folder.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.store = root, Store(root / "store")
        shutil.copytree(PROJECT / "conf", root / "conf")
        (root / "dvc.yaml").touch()
        (root / "conf" / "data" / "sales.yaml").write_text(DATA)
        self.write_data(600)
        monkeypatch.chdir(root)
        monkeypatch.delenv("WANDB_API_KEY", raising=False)

    def write_data(self, rows: int, *more: str) -> None:
        """Sales = 3 x price - 2 x rain + 10, and noise of 0.5; `more` names columns that have nothing to do with it."""
        draws = np.random.default_rng(0).normal(size=(rows, 3))
        others = np.random.default_rng(1).normal(size=(rows, len(more)))
        table = [[p, r, *o, 3 * p - 2 * r + 10 + 0.5 * e] for (p, r, e), o in zip(draws, others, strict=True)]
        lines = [",".join(f"{cell:.4f}" for cell in row) for row in table]
        (self.root / "sales.csv").write_text("\n".join([",".join(["price", "rain", *more, "sales"]), *lines]) + "\n")

    def plan(self, models: dict[str, tuple[str, ...]], **more: Any) -> None:
        """Write conf/nightly.yaml: models of the same table, and what each has beside the overrides that all have."""
        plain = {"models": {name: [*OVERRIDES, *own] for name, own in models.items()}, **more}
        (self.root / "conf" / "nightly.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))

    def carry_out(self, run: PipelineRun) -> None:
        """Take a run from data to report."""
        self._prepare(run)
        with run:
            for name in stages.order(run.spec):
                run.stage(name)

    def _prepare(self, run: PipelineRun) -> None:
        """What DVC would be asked for; each version of the data keeps a folder, as its cache would."""
        parts = stages.key_parts("data", run.spec, {})
        with self.store.run("data", parts, on_wait=print) as partial:
            if isinstance(partial, Partial):
                partial.files_in = self.root / "data" / "prepared" / f"sales-{digest(parts)}"
                card = prepare(run.spec.data, self.root, partial.files_in)
                partial.outputs = {"directory": str(partial.files_in), "content_sha256": card.content_sha256}

    def candidate(self, *overrides: str) -> Candidate:
        """A finished run, new or from the store."""
        run = open_run([*OVERRIDES, *overrides], "a test")
        if not run.reuse_all():
            self.carry_out(run)
        return candidate_of(self.store, run.run_id)

    def night(self, *overrides: str) -> dict[str, Any]:
        """A night of all models of the plan."""
        return night([], overrides, "a test", self.carry_out)
