"""The versions of each model, `<store>/models/<model>/versions/<number>/`, and which of them is champion.

    versions/0003/version.json      what it is and why it is here; written before the directory gets its name
    versions/0003/export/           the model for who serves it (components/export)
    champion.json                   for those who look from outside: the champion's number

The newest `alias` entry of the ledger says who is champion: one appended line, so a promotion has happened or it has not. champion.json repeats it,
with the place in the ledger up to which it is true.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import UserError, nearest
from components.files import read_json, read_object
from flows.ledger import Entry
from flows.store import Store

FORMAT = 1
RECORD, CHAMPION, EXPORT = "version.json", "champion.json", "export"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True)
class Version:
    """One version of a model, as its version.json tells."""

    model: str
    number: int
    directory: Path
    record: dict[str, Any]

    @property
    def run_id(self) -> str:
        """The run that made it."""
        return str(self.record["run_id"])

    @property
    def checkpoint_sha256(self) -> str:
        """Of its weights."""
        return str(self.record["checkpoint_sha256"])

    @property
    def stages(self) -> dict[str, str]:
        """The key of each stage that it comes from; `upstream.<name>` too."""
        found: dict[str, str] = self.record["stages"]
        return found

    @property
    def trainings(self) -> dict[str, str]:
        """Of these the ones without which it cannot be judged again, nor be gone back to: its training, and those that it builds on."""
        return {name: key for name, key in self.stages.items() if name == "train" or name.startswith("upstream.")}

    @property
    def data(self) -> dict[str, Any]:
        """The data version that it was trained on: `name`, `key`, `content_sha256`, `dvc`."""
        found: dict[str, Any] = self.record["data"]
        return found

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """`{split: {name: value}}` when it was trained."""
        found: dict[str, dict[str, float]] = self.record["metrics"]
        return found


class Registry:
    """The models of one store."""

    def __init__(self, store: Store) -> None:
        self.store, self.root = store, store.root / "models"

    def models(self) -> list[str]:
        """Return the names of the models that have a version."""
        return sorted({path.parents[2].name for path in self.root.glob(f"*/versions/[0-9]*/{RECORD}")})

    def folder(self, model: str) -> Path:
        """Return a model's folder, which may not exist yet.

        Raises:
            UserError: the name is no name.
        """
        if not _NAME.fullmatch(model):
            raise UserError("that is no name for a model", received=model, expected="letters, digits, '.', '_' and '-', such as digits-lenet5")
        return self.root / model

    def versions(self, model: str) -> list[Version]:
        """Return the versions of a model, the oldest first; none where it is not known."""
        paths = sorted(self.folder(model).glob(f"versions/[0-9]*/{RECORD}"))
        return [Version(model, int(path.parent.name), path.parent, read_json(path)) for path in paths]

    def version(self, model: str, number: int) -> Version:
        """Return one version.

        Raises:
            UserError: there is none of that number.
        """
        known = {version.number: version for version in self.versions(model)}
        if number not in known:
            told = ", ".join(map(str, known)) if known else f"no version of it is known{nearest(model, self.models())}"
            raise UserError(f"{model} has no version {number}", expected=told, mend="`modelyard models` shows what there is")
        return known[number]

    def champion(self, model: str) -> Version | None:
        """Return the version that is champion; None before the first promotion."""
        entry = self.newest_alias(model)
        return None if entry is None else self.version(model, entry["version"])

    def newest_alias(self, model: str) -> dict[str, Any] | None:
        """Return the body of the newest entry that made a version of the model champion."""
        known = read_object(self.folder(model) / CHAMPION)
        newest: dict[str, Any] | None = known.get("entry")
        for entry in self._aliases(model, known.get("ledger_bytes", 0)):
            newest = entry.body
        return newest

    def history(self, model: str) -> list[Entry]:
        """Return the entries that made versions of the model champion, the oldest first."""
        return list(self._aliases(model, 0))

    def rejected(self, model: str) -> set[int]:
        """Return the versions that somebody went back from and nobody has made champion since: no flow promotes them by itself."""
        found: set[int] = set()
        for entry in self.history(model):
            found.discard(entry.body["version"])
            if entry.body["back"]:
                found.add(entry.body["before"])
        return found

    def _aliases(self, model: str, offset: int) -> Iterator[Entry]:
        return (entry for entry in self.store.ledger.entries(offset) if entry.kind == "alias" and entry.body.get("alias") == model)
