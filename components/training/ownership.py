"""Who may write a directory: the attempt whose token stands in a file. What a dead one has left running elsewhere finds another's, and stops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import RunError
from components.files import read_json


@dataclass(frozen=True)
class Ownership:
    """The right to write, as a fencing token: it holds while `file` says `{"token": token}`."""

    file: Path
    token: str

    @classmethod
    def of(cls, plain: dict[str, Any] | None) -> Ownership | None:
        """From a job's configuration; None for a job that nobody else could write beside."""
        return None if plain is None else cls(Path(plain["file"]), plain["token"])

    def plain(self) -> dict[str, str]:
        return {"file": str(self.file), "token": self.token}

    def require(self) -> None:
        """Check that the right still holds.

        Raises:
            RunError: another attempt has taken over, or the file is gone, as it is when nobody works here any more.
        """
        try:
            found = read_json(self.file).get("token")
        except (OSError, ValueError):
            found = None
        if found != self.token:
            taken = "nobody's any more" if found is None else f"another attempt's ({found})"
            raise RunError(f"this attempt ({self.token}) may not write here: the work is {taken}, says {self.file}")
