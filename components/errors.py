"""The two kinds of failure that a person sees.

`UserError` is somebody's mistake (bad input): no traceback, exit code 2.
`RunError` is a run that failed though its input was good: exit code 1.
Everything else is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input, told so that the reader can mend it.

    Args:
        what: what happened, one sentence.
        received: what was given.
        expected: what would have been right.
        mend: what to do now.
    """

    def __init__(self, what: str, *, received: object = None, expected: object = None, mend: str = "") -> None:
        self.what, self.received, self.expected, self.mend = what, received, expected, mend
        lines = [what]
        if received is not None:
            lines.append(f"  received: {received}")
        if expected is not None:
            lines.append(f"  expected: {expected}")
        if mend:
            lines.append(f"  to mend:  {mend}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling: Ray carries errors from a worker to the driver."""
        return (_rebuild, (self.what, self.received, self.expected, self.mend))


def _rebuild(what: str, received: object, expected: object, mend: str) -> UserError:
    return UserError(what, received=received, expected=expected, mend=mend)


class RunError(RuntimeError):
    """A run that failed though its input was good (a worker died, a loss became non-finite)."""


class Interrupted(KeyboardInterrupt):
    """Somebody asked a run to leave, and it has saved where it stood. A KeyboardInterrupt, so that no `except Exception` takes it for a fault."""


def in_words(error: Exception) -> str:
    """Return what a person needs of an error that does not end the command; of a bug of ours, its kind as well."""
    return str(error) if isinstance(error, (UserError, RunError)) else f"{type(error).__name__}: {error}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ", did you mean 'x'?" for the closest known name, or nothing when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean '{close[0]}'?" if close else ""
