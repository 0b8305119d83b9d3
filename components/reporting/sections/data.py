"""The data: the checks that it passed and the sheet of samples."""

from __future__ import annotations

from components.reporting.images import png_address
from components.reporting.run import Run
from components.reporting.sections.base import Section


def data(run: Run) -> Section | None:
    """Return the list of checks, `{"checks": [{name, passed, severity, detail}]}`, and the sheet of samples."""
    checks = run.check.get("checks") or []
    if not checks and run.sheet is None:
        return None
    return Section(
        "data",
        "Data",
        {
            "checks": checks,
            "passed": sum(bool(check["passed"]) for check in checks),
            "title": run.card.get("title") or run.card.get("name") or "the data",
            "sheet": png_address(run.sheet) if run.sheet is not None else None,
        },
    )
