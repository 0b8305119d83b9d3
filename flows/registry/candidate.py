"""A finished run that may become a version of a model: its record and the stages that it is made of, all of them there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.spec.parse import parse_spec
from components.spec.schema import Spec
from flows.runs import read_run
from flows.store import Manifest, Store
from flows.upstream import checkpoint

_NEEDED = ("data", "check", "train", "evaluate")


@dataclass(frozen=True)
class Candidate:
    """A finished run.

    Attributes:
        record: its run.json.
        spec: what it was of.
        done: the manifests of its stages; `upstream.<name>` too.
    """

    record: dict[str, Any]
    spec: Spec
    done: dict[str, Manifest]

    @property
    def run_id(self) -> str:
        return str(self.record["run_id"])

    def directory(self, store: Store) -> Path:
        """The run's own; what its judgement holds is counted there too (flows/attempts.py)."""
        return store.root / "runs" / self.run_id

    @property
    def checkpoint(self) -> str:
        """The directory of its best checkpoint."""
        return checkpoint(self.done["train"])

    @property
    def checkpoint_sha256(self) -> str:
        """Of its weights."""
        return str(self.done["train"].outputs["checkpoint_sha256"])

    @property
    def upstream(self) -> dict[str, str]:
        """The checkpoint directory of each run that it builds on."""
        return {name.removeprefix("upstream."): checkpoint(manifest) for name, manifest in self.done.items() if name.startswith("upstream.")}

    def require_stages(self, store: Store) -> None:
        """Look again whether its stages are there.

        Raises:
            UserError: some were removed.
        """
        _require(self.run_id, sorted(name for name, manifest in self.done.items() if not store.holds(manifest)))


def candidate_of(store: Store, word: str) -> Candidate:
    """Read the run whose id begins with a word.

    Raises:
        UserError: there is no such run, it has not finished, or stages of it were removed.
    """
    run = read_run(store, word)
    if run.status != "finished":
        raise UserError(
            "only a finished run can become a champion", received=f"{run.run_id}: {run.status}", mend="run the same command again: it goes on"
        )
    found = {name: store.read("train" if name.startswith("upstream.") else name, key) for name, key in run.stages.items()}
    _require(run.run_id, sorted({*_NEEDED} - {*found} | {name for name, manifest in found.items() if manifest is None}))
    done = {name: manifest for name, manifest in found.items() if manifest is not None}
    return Candidate(run.record, parse_spec(run.record["spec"]), done)


def _require(run_id: str, gone: list[str]) -> None:
    if gone:
        raise UserError(f"stages of this run are gone: {', '.join(gone)}", received=run_id, mend="run the same command again")
