"""What a section is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from components.reporting.run import Run


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: letters and dashes, unique on the page: its anchor, and its template `templates/<name>.html`.
        title: its heading.
        context: what its template shows.
    """

    name: str
    title: str
    context: dict[str, Any]


SectionFunction = Callable[[Run], Section | None]
