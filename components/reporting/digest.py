"""The page of a night's digest, in the look of a run's report."""

from __future__ import annotations

from pathlib import Path

from components.files import write_text
from components.reporting.page import fill
from components.reporting.run import Plain

_SHOWN = ("promoted", "refused", "failed", "unchanged", "left")


def render_digest(found: Plain, headline: str, cost: str, output: Path) -> None:
    """Draw the digest of a night and write it atomically.

    Args:
        found: the night's record, as flows/nightly/night.py writes it.
        headline: the night in one sentence.
        cost: what it held and what that cost, in one line.
        output: the file to write.
    """
    outcomes = [{**o, "report_link": Path(o["report"]).as_uri() if o["report"] else ""} for o in found["outcomes"]]
    tiles = [(status, count) for status in _SHOWN if (count := sum(o["status"] == status for o in outcomes))]
    write_text(output, fill("digest.html", found=found, headline=headline, cost=cost, outcomes=outcomes, tiles=tiles))
