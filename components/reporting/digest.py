"""The page of a night's digest, in the look of a run's report."""

from __future__ import annotations

from pathlib import Path

from components.files import write_text
from components.reporting.page import fill
from components.reporting.run import Plain


def render_digest(found: Plain, output: Path) -> None:
    """Draw the digest of a night and write it atomically.

    Args:
        found: the night's record, as flows/nightly/night.py writes it.
        output: the file to write.
    """
    outcomes = [{**o, "report_link": Path(o["report"]).as_uri() if o["report"] else ""} for o in found["outcomes"]]
    counts = {status: sum(o["status"] == status for o in outcomes) for status in ("promoted", "refused", "failed", "unchanged", "left")}
    write_text(output, fill("digest.html", found=found, outcomes=outcomes, tiles=list(counts.items())))
