"""A search by itself: data, check, tune."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

from components.errors import UserError
from flows.open import open_run
from flows.search.best import save_as
from flows.search.search import EXPERIMENT, PAGE
from flows.search.values import without_search

STAGES = ("data", "check", "tune")


def search_alone(overrides: Sequence[str], command: str, save: str | None, announce: Callable[[str], None]) -> dict[str, Any]:
    """Search, or find the search done.

    Args:
        overrides: Hydra overrides, `tune=...` among them.
        command: how it was asked for, for the record.
        save: name under conf/experiment for what is found; None saves nothing there.
        announce: takes one line for the person who watches.

    Returns:
        The tune stage's outputs, with `directory`, `page`, `csv`, `saved`, and the command line that trains the best as `run`.

    Raises:
        UserError: no search is asked for, or it is not as it must be.
    """
    run = open_run(overrides, command, announce)
    if run.spec.tune is None:
        raise UserError("there is no search to make", expected="tune=asha or another of conf/tune", received=shlex.join(overrides) or "no overrides")
    with run:
        for stage in STAGES:
            run.stage(stage)
        run.end_with_training()
    tuned = run.done["tune"]
    words = without_search(overrides)[:-1]  # nobody asks for a search there
    saved = None if save is None else str(save_as(run.root, save, (tuned.directory / EXPERIMENT).read_text(encoding="utf-8")))
    return {
        **tuned.outputs,
        "run_id": run.run_id,
        "directory": str(tuned.directory),
        "page": str(tuned.directory / PAGE),
        "csv": str(tuned.directory / "trials.csv"),
        "saved": saved,
        "run": f"modelyard run {shlex.join([*words, *tuned.outputs['overrides']])}",
    }
