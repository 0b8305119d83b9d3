"""What a store has written down, read once: ledger, runs, manifests. What is damaged is left out here; the checks tell it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from components.files import read_json
from flows.ledger import Entry
from flows.store import Manifest, Store


class Records:
    """The records of one store.

    Args:
        root: the project's folder.
        store: whose records.
    """

    def __init__(self, root: Path, store: Store) -> None:
        self.root, self.store = root, store
        self.folders = sorted(p for p in store.root.glob("stages/*/*") if p.is_dir() and "." not in p.name)  # before the ledger: it knows of them all
        self.entries = list(store.ledger.entries())
        self.runs = _runs(store.root / "runs")
        self._stages = {(e.body.get("stage"), e.body.get("key")): e for e in self.entries if e.kind in ("stage", "removed")}  # the last of each
        self._finished = {e.body.get("run_id"): e for e in self.entries if e.kind == "run"}
        self._removed_runs = {e.body.get("run_id"): e for e in self.entries if e.kind == "run_removed"}
        self.manifest = functools.cache(store.read)

    @property
    def stages(self) -> list[tuple[str, str]]:
        """Stage and key of every stage that there is or was."""
        known = {(p.parent.name, p.name) for p in self.folders}
        return sorted(known | {(str(stage), str(key)) for stage, key in self._stages})

    @property
    def run_ids(self) -> list[str]:
        return sorted({*self.runs, *map(str, self._finished)})

    def entered(self, stage: str, key: str) -> Entry | None:
        """The ledger's last entry of a stage, None where it has none or where the stage was removed since."""
        entry = self._stages.get((stage, key))
        return entry if entry is not None and entry.kind == "stage" else None

    def removed(self, stage: str, key: str) -> Entry | None:
        """The entry by which a stage was removed on purpose, if it was and has not been made again."""
        entry = self._stages.get((stage, key))
        return entry if entry is not None and entry.kind == "removed" else None

    def finished(self, run_id: str) -> Entry | None:
        """The ledger's last entry of a finished run."""
        return self._finished.get(run_id)

    def removed_run(self, run_id: str) -> Entry | None:
        """The entry by which a run was removed on purpose, if it was and has not been made again."""
        return None if run_id in self.runs else self._removed_runs.get(run_id)

    def account(self, run_id: str) -> dict[str, Any]:
        """What is known of a run: its run.json, or what the ledger repeats of it where that is gone."""
        if run_id in self.runs:
            return self.runs[run_id]
        entry = self._finished[run_id]
        stages = {name: {"key": key} for name, key in entry.body.get("stages", {}).items()}
        return {**entry.body, "status": "finished", "started": entry.at, "stages": stages}

    def runs_of(self, stage: str, key: str) -> list[str]:
        """The runs that a stage belongs to, the first one first."""
        found = [(self.account(run_id), run_id) for run_id in self.run_ids]
        own = [(str(a.get("started", "")), run_id) for a, run_id in found if a.get("stages", {}).get(stage, {}).get("key") == key]
        return [run_id for _, run_id in sorted(own)]

    def checkpoints(self, sha256: str) -> list[tuple[str, Path]]:
        """Keys of the train stages that hold a file with this content, and where; by what their manifests say."""
        trained = [self.manifest(stage, key) for stage, key in self.stages if stage == "train"]
        return [(m.key, m.directory / name) for m in trained if m is not None for name, entry in m.files.items() if entry.sha256 == sha256]

    def chosen(self, sha256: str) -> list[str]:
        """The runs whose chosen checkpoint has this content."""
        return [run_id for run_id in self.run_ids if self.account(run_id).get("checkpoint_sha256") == sha256]

    def aliases(self, sha256: str) -> list[Entry]:
        return [e for e in self.entries if e.kind == "alias" and e.body.get("checkpoint_sha256") == sha256]

    def train_manifest(self, account: dict[str, Any]) -> Manifest | None:
        """The manifest of a run's training, None where it is gone, damaged, or was never finished."""
        key = account.get("stages", {}).get("train", {}).get("key")
        return None if key is None else self.manifest("train", key)

    def upstream(self, account: dict[str, Any]) -> dict[str, str]:
        """The sha256 of the checkpoints that a run's training was given of other runs, by name."""
        manifest = self.train_manifest(account)
        inputs = manifest.parts.get("inputs", {}) if manifest is not None else {}
        return {name.partition(".")[2]: sha256 for name, sha256 in inputs.items() if name.startswith("upstream.")}


def _runs(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted(folder.glob("*/run.json")):
        try:
            plain = read_json(path)
        except (OSError, ValueError):
            continue
        if isinstance(plain, dict) and isinstance(plain.get("stages"), dict):
            found[path.parent.name] = plain
    return found
