"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail", "skipped"]


@dataclass(frozen=True)
class Finding:
    """One check's verdict.

    Args:
        status: `warn` where a sound system may look so too.
        found: the numbers behind it.
        expected: what a sound system shows.
        mend: what to do, where there is something to do.
        check, name: where they differ from those of the check's row in the table (job.py).
    """

    status: Status
    found: str
    expected: str = ""
    mend: str = ""
    check: str = ""
    name: str = ""


class Skipped(Exception):
    """A check does not apply to this task or these data; the message is the reason."""
