"""From the journal's records to W&B's rows: one row a step, each once, whatever was killed and resumed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

_KINDS = ("step", "epoch")  # an event says something in words


class Rows:
    """Joins the records of a step into one row, and leaves out the steps that are logged already.

    Args:
        logged: the last step that is; -1 for none.
    """

    def __init__(self, logged: int) -> None:
        self.logged = logged
        self._open: dict[str, float] = {}

    def take(self, records: Iterable[dict[str, Any]]) -> list[dict[str, float]]:
        """Return the rows that are whole now: of every step behind which the journal has another.

        A journal that was rewound to a checkpoint is read from its beginning again; its steps are the same to the bit.
        """
        whole = []
        for record in records:
            if record["kind"] not in _KINDS:
                continue
            if self._open and record["step"] != self._open["step"]:
                ended, self._open = self._open, {}
                if record["step"] > ended["step"]:
                    whole.append(self._close(ended))
            if record["step"] > self.logged:
                self._open |= _numbers(record)
        return whole

    def rest(self) -> list[dict[str, float]]:
        """Return the row of the last step, none where there is none; nothing more will be said of it."""
        ended, self._open = self._open, {}
        return [self._close(ended)] if ended else []

    @property
    def unfinished(self) -> dict[str, float]:
        """What is known of the last step, of which the journal may say more."""
        return dict(self._open)

    def _close(self, row: dict[str, float]) -> dict[str, float]:
        self.logged = int(row["step"])
        return row


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    """The figures of a record. The journal writes null for what is no finite number."""
    return {k: math.nan if v is None else v for k, v in record.items() if v is None or (isinstance(v, (int, float)) and not isinstance(v, bool))}
