"""Sections of the page. Each is a function `section(run) -> Section | None`; None means that the run has nothing for it to show."""
