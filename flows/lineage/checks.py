"""Is a stage, a run, a checkpoint what was written down of it? One answer a question, for `trace` and `verify` alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from components.data.card import load_card, require_contents
from components.errors import UserError
from components.files import digest, read_json
from flows.account import ENTERED
from flows.lineage.hashing import Hasher
from flows.lineage.records import Records
from flows.store import MANIFEST, RECORDED, Manifest

# unknown: nobody tampered with it, and it cannot be told whether it is right (a run that goes on, data that have a newer version)
State = Literal["verified", "damaged", "missing", "removed", "unknown"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    what: str
    state: State
    why: str = ""

    @property
    def failed(self) -> bool:
        return self.state in ("damaged", "missing")

    def __str__(self) -> str:
        said = "verified" if self.state == "verified" else f"NOT VERIFIED ({self.state})"
        return f"{said}: {self.what}" + (f": {self.why}" if self.why else "")


def stage_checks(records: Records, stage: str, key: str, hasher: Hasher) -> list[Check]:
    """Compare a stage with the ledger, and its files with its manifest.

    Raises:
        UserError: the manifest was written by a newer modelyard.
    """
    folder = records.store.root / "stages" / stage / key
    what = f"{stage}/{key}"
    if removed := records.removed(stage, key):
        return [Check(what, "removed", f"on {removed.at}, says entry {removed.number} of the ledger")]
    if not folder.is_dir():
        return [Check(what, "missing", "there is no such folder, and no entry says that it was removed")]
    if not (folder / MANIFEST).is_file():
        return [Check(f"{what}/{MANIFEST}", "missing")]
    manifest = records.manifest(stage, key)
    if manifest is None:
        return [Check(f"{what}/{MANIFEST}", "damaged", "it is no manifest any more")]
    checks = [_entry_check(records, manifest, folder, hasher)]
    if _digest(manifest.parts)[: len(key)] != key:
        checks.append(Check(f"{what}/{MANIFEST}", "damaged", "what it says the stage was made from does not give its key"))
    return [*checks, *_files(manifest, folder, hasher)]


def _digest(value: Any) -> str:
    try:
        return digest(value, length=64)
    except ValueError:  # somebody wrote a NaN into it
        return "no JSON"


def _entry_check(records: Records, manifest: Manifest, folder: Path, hasher: Hasher) -> Check:
    what = f"{manifest.stage}/{manifest.key}/{MANIFEST}"
    sha256 = hasher.sha256(folder / MANIFEST)
    entry = records.entered(manifest.stage, manifest.key)
    if entry is None:
        number = _entered_as(folder)
        if number is None:
            return Check(what, "unknown", "it is not in the ledger yet: the command that made it enters it when it is run again")
        return Check(what, "missing", f"its entry in the ledger, number {number}, is gone")
    if not entry.sound:
        return Check(what, "damaged", f"entry {entry.number} of the ledger was changed")
    if entry.body.get("manifest_sha256") != sha256:
        return Check(what, "damaged", f"it is not the manifest that was entered (number {entry.number} of the ledger): it was edited")
    source = f", taken from {entry.body['from']}" if "from" in entry.body else ""
    return Check(f"{what} {sha256[:12]}, entry {entry.number} of the ledger{source}", "verified")


def _entered_as(folder: Path) -> int | None:
    try:
        return int(read_json(folder / RECORDED)["number"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _files(manifest: Manifest, folder: Path, hasher: Hasher) -> list[Check]:
    """Hash the files again. Data that DVC owns (outside the folder) may have a newer version where they lay: that is no damage."""
    outside = not manifest.directory.is_relative_to(folder.resolve())
    what = manifest.directory if outside else Path(manifest.stage) / manifest.key
    if not manifest.directory.is_dir():
        return [Check(str(what), "missing", "the data are gone; `dvc checkout`, or the command that needs them, brings them back")]
    failed = [
        c for name, e in manifest.files.items() if (c := file_check(manifest.directory / name, e.sha256, hasher, f"{what}/{name}", e.bytes)).failed
    ]
    if failed and outside and (newer := _newer(manifest)):
        why = f"version {newer[:12]} of the data lies there now, not {manifest.outputs['content_sha256'][:12]}; DVC's cache may hold the older one"
        return [Check(str(what), "unknown", why)]
    return failed or [Check(f"{what}: {len(manifest.files)} files", "verified")]


def _newer(manifest: Manifest) -> str | None:
    """Return the version of the data where a manifest's were, if it is another one and whole."""
    try:
        card = load_card(manifest.directory)
        require_contents(manifest.directory, card)
    except UserError:
        return None
    return card.content_sha256 if card.content_sha256 != manifest.outputs.get("content_sha256") else None


def file_check(path: Path, sha256: str, hasher: Hasher, what: str, size: int | None = None) -> Check:
    """Hash one file again and compare.

    Args:
        path: of the file.
        sha256: that was written down.
        hasher: that reads it.
        what: the file's name, for the reader.
        size: in bytes, if it is known: a truncated file is told as one.
    """
    try:
        found = path.stat().st_size
        if size is not None and found != size:
            return Check(what, "damaged", f"it has {found} bytes, not {size}")
        content = hasher.sha256(path)
    except FileNotFoundError:
        return Check(what, "missing")
    except OSError as error:
        return Check(what, "damaged", f"it cannot be read: {error.strerror}")
    if content != sha256:
        return Check(what, "damaged", f"its sha256 is {content[:12]}, not {sha256[:12]}")
    return Check(f"{what} {sha256[:12]}", "verified")


def account_check(records: Records, run_id: str, fields: Iterable[str] = (*ENTERED, "stages")) -> Check:
    """Compare what run.json says with what the ledger repeats of it, all of it or some fields."""
    entry, account = records.finished(run_id), records.runs.get(run_id)
    what = f"runs/{run_id}/run.json"
    if removed := _removed_run(records, run_id, what):
        return removed
    if account is None:
        there = (records.store.root / what).is_file()
        return Check(what, "damaged", "it cannot be read") if there else Check(what, "missing", "the ledger tells of the run")
    if account.get("status") != "finished":
        return Check(what, "unknown", f"the run is {account.get('status')}: the ledger tells of finished runs")
    if entry is None:
        return Check(what, "unknown", "the ledger has no entry of the run: it was made before there was one, or killed just before")
    if not entry.sound:
        return Check(what, "damaged", f"entry {entry.number} of the ledger was changed")
    now = {**account, "stages": {name: stage.get("key") for name, stage in account["stages"].items()}}
    changed = [name for name in fields if name in entry.body and now.get(name) != entry.body[name]]
    if changed:
        return Check(what, "damaged", f"{', '.join(changed)}: not what entry {entry.number} of the ledger says: it was edited")
    return Check(f"run.json says what entry {entry.number} of the ledger says", "verified")


def _removed_run(records: Records, run_id: str, what: str) -> Check | None:
    removed = records.removed_run(run_id)
    return None if removed is None else Check(what, "removed", f"with the run on {removed.at}, says entry {removed.number} of the ledger")


def spec_check(records: Records, run_id: str) -> Check:
    """Hash the specification in a run.json again."""
    what, account = f"specification in runs/{run_id}/run.json", records.account(run_id)
    if removed := _removed_run(records, run_id, what):
        return removed
    if "spec" not in account:
        return Check(what, "missing")
    sha256 = _digest(account["spec"])
    if sha256 != account.get("spec_sha256"):
        return Check(what, "damaged", f"its sha256 is {sha256[:12]}, not {str(account.get('spec_sha256'))[:12]}: it was edited")
    return Check(f"{what} {sha256[:12]}", "verified")


def patch_check(records: Records, run_id: str, hasher: Hasher) -> Check | None:
    """Hash the patch beside a run.json again; None where the code was committed."""
    sha256 = records.account(run_id).get("patch_sha256")
    name = f"runs/{run_id}/uncommitted.patch"
    if sha256 is None:
        return None
    return _removed_run(records, run_id, name) or file_check(records.store.root / name, sha256, hasher, name)


def checkpoint_check(records: Records, run_id: str, hasher: Hasher) -> Check:
    """Find a run's checkpoint by what its training's manifest says, and hash the weights again."""
    account = records.account(run_id)
    sha256, key = account.get("checkpoint_sha256"), account.get("stages", {}).get("train", {}).get("key")
    what = f"checkpoint of {run_id}"
    if sha256 is None or key is None:
        return Check(what, "unknown", "the run has not come so far")
    if removed := records.removed("train", key):
        return Check(what, "removed", f"with train/{key} on {removed.at}, says entry {removed.number} of the ledger")
    manifest = records.train_manifest(account)
    if manifest is None:
        return Check(what, "missing", f"train/{key} has no manifest that could be read")
    if manifest.outputs.get("checkpoint_sha256") != sha256:
        return Check(
            what, "damaged", f"run.json says {sha256[:12]}, the manifest of train/{key} {str(manifest.outputs.get('checkpoint_sha256'))[:12]}"
        )
    held = [name for name, entry in manifest.files.items() if entry.sha256 == sha256 and name.startswith(f"{manifest.outputs['checkpoint']}/")]
    if not held:
        return Check(what, "damaged", f"no file of {manifest.outputs['checkpoint']} in the manifest of train/{key} has sha256 {sha256[:12]}")
    return file_check(manifest.directory / held[0], sha256, hasher, f"train/{key}/{held[0]}", manifest.files[held[0]].bytes)
