"""The page of an experiment's folds, in the look of a run's report."""

from __future__ import annotations

import shlex
from pathlib import Path

from components.files import write_text
from components.reporting.masking import mask_command
from components.reporting.page import draw, fill
from components.reporting.run import Plain
from components.reporting.sections.folds import folds, headline_tiles


def render_folds(found: Plain, output: Path) -> None:
    """Draw the page of folds and write it atomically. The same folds give the same bytes.

    Args:
        found: `experiment`, `data` (its title), `overrides`, `headline`, `runs` and `spread`, as flows/folds.py tells them.
        output: the file to write.
    """
    section = folds(found)
    command = mask_command(shlex.join(["modelyard", "run", *found["overrides"], f"folds={len(found['runs'])}"]))
    write_text(output, fill("folds.html", found=found, command=command, tiles=headline_tiles(found), section=section, content=draw(section)))
