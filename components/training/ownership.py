"""Who may write a directory: the attempt whose token stands in a file. What a dead one has left running elsewhere finds another's, and stops."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import RunError
from components.files import read_json


@dataclass(frozen=True)
class Ownership:
    """The right to write, as a fencing token: it holds while `file` says `{"token": token}`, and while the right that it is part of does."""

    file: Path
    token: str
    part_of: Ownership | None = None

    @classmethod
    def of(cls, plain: dict[str, Any] | None) -> Ownership | None:
        """From a job's configuration; None for a job that nobody else could write beside."""
        return None if plain is None else cls(Path(plain["file"]), plain["token"], cls.of(plain["part_of"]))

    def plain(self) -> dict[str, Any]:
        return {"file": str(self.file), "token": self.token, "part_of": None if self.part_of is None else self.part_of.plain()}

    def require(self) -> None:
        """Check that the right still holds.

        Raises:
            RunError: another attempt has taken over, or the file is gone, as it is when nobody works here any more.
        """
        if (found := self._found()) != self.token:
            taken = "nobody's any more" if found is None else f"another attempt's ({found})"
            raise RunError(f"this attempt ({self.token}) may not write here: the work is {taken}, says {self.file}")
        if self.part_of is not None:
            self.part_of.require()

    def holds(self) -> bool:
        """Tell whether the file still names this token."""
        return self._found() == self.token

    def _found(self) -> str | None:
        try:
            token: str | None = read_json(self.file).get("token")
        except (OSError, ValueError):
            return None
        return token
