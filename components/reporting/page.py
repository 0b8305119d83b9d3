"""The page of a run: one self-contained HTML file."""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from components.files import write_text
from components.reporting.run import OPTIONAL, Run, load
from components.reporting.sections.base import Section, SectionFunction
from components.reporting.sections.classification import calibration, classes, predictions
from components.reporting.sections.curves import curves
from components.reporting.sections.data import data
from components.reporting.sections.density import density
from components.reporting.sections.detection import detection
from components.reporting.sections.ensemble import ensemble
from components.reporting.sections.generative import generative
from components.reporting.sections.graph import graph
from components.reporting.sections.language import language
from components.reporting.sections.points import points
from components.reporting.sections.policy import policy
from components.reporting.sections.pose import pose
from components.reporting.sections.provenance import provenance
from components.reporting.sections.regression import regression
from components.reporting.sections.search import search
from components.reporting.sections.segmentation import segmentation
from components.reporting.sections.timing import timing
from components.reporting.sections.translation import translation
from components.reporting.text import duration, number, score
from components.reporting.verdict import Verdict, judge, scalars

SECTIONS: tuple[SectionFunction, ...] = (
    provenance,
    search,
    curves,
    classes,
    calibration,
    predictions,
    regression,
    density,
    policy,
    ensemble,
    detection,
    segmentation,
    translation,
    language,
    pose,
    generative,
    graph,
    points,
    data,
    timing,
)  # fmt: skip

_TEMPLATES = Path(__file__).parent / "templates"
_TILES = 4


def render(run_directory: Path, output: Path) -> None:
    """Draw the page of a run from its directory alone and write it atomically. The same directory gives the same bytes.

    Raises:
        UserError: run.json is missing, or a file of the directory cannot be read.
    """
    write_text(output, page(load(run_directory)))


def page(run: Run) -> str:
    """Return the page as HTML."""
    verdict = judge(run)
    drawn = [section for function in SECTIONS if (section := function(run)) is not None]
    table = scalars(run)
    return fill(
        "page.html",
        run=run,
        verdict=verdict,
        tiles=_tiles(run, verdict),
        scores=table,
        splits=list(run.metrics) if table else [],
        sections=[(section, draw(section)) for section in drawn],
        left_out=[(name, OPTIONAL[name]) for name in run.missing],
    )


def fill(template: str, **context: Any) -> str:
    """Return a page of templates/, which extends base.html, with style and script in it."""
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    return (
        _environment()
        .get_template(template)
        .render(
            **context,
            style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        )
    )


def draw(section: Section) -> Markup:
    """Return a section as HTML."""
    return Markup(_environment().get_template(f"{section.template or section.name}.html").render(section.context))


@functools.cache
def _environment() -> Environment:
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=number, duration=duration, score=score)
    return environment


def _tiles(run: Run, verdict: Verdict) -> list[tuple[str, float]]:
    """Return the numbers that stand large on top: first what was expected, then metrics of the split that the run is judged by."""
    expected = [(wish.metric, wish.value) for wish in verdict.expectations if wish.value is not None]
    split = run.judged_split
    others = [(f"{split}/{name}", values[split]) for name, values in scalars(run).items() if split in values and name != "samples"]
    return list(dict([*expected, *others]).items())[:_TILES]
