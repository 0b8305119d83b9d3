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
        name: letters and dashes, unique on the page: its anchor.
        title: its heading.
        context: what its template shows.
        template: `templates/<template>.html`; its own name where none is given. `figures` draws what most kinds of task need:
            `intro` (str), `figures` [{title, pictures: [{address, caption}]}], `tables` [{title, columns, rows}], `texts` [{title, text}],
            `charts` [Markup], each of them optional.
    """

    name: str
    title: str
    context: dict[str, Any]
    template: str = ""


SectionFunction = Callable[[Run], Section | None]
