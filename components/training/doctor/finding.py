"""What a check says."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from components.errors import UserError

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


def rows(check: str, name: str, look: Callable[[], Finding | list[Finding]], wrong: str) -> list[dict[str, Any]]:
    """Make a check and return its findings as plain rows: check, name, status, found, expected, mend, seconds.

    Args:
        check, name: of the check's row in its table.
        look: the check; Skipped means that it does not apply.
        wrong: what it means when the check cannot be made at all.

    Raises:
        UserError: the input is bad; that is not for what is looked at to answer for.
    """
    started = time.perf_counter()
    try:
        found = look()
    except Skipped as reason:
        found = Finding("skipped", str(reason))
    except UserError:
        raise
    except Exception as error:  # others' code may raise anything, and the other checks still have something to say
        message = next(iter(str(error).splitlines()), "")
        found = Finding("fail", f"{type(error).__name__}: {message}", "the check runs through", wrong)
    findings = found if isinstance(found, list) else [found]
    seconds = (time.perf_counter() - started) / max(1, len(findings))
    return [
        {
            "check": f.check or check,
            "name": f.name or name,
            "status": f.status,
            "found": f.found,
            "expected": f.expected,
            "mend": f.mend if f.status in ("warn", "fail") else "",
            "seconds": seconds,
        }
        for f in findings
    ]
