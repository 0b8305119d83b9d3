"""`modelyard trace`: the chain from the data to the checkpoint and back, each link looked at again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from components.files import sha256_file
from flows import record
from flows.lineage import checks, names
from flows.lineage.checks import Check
from flows.lineage.hashing import Hasher
from flows.lineage.names import Subject
from flows.lineage.records import Records

_SHORT = 12  # digits of a hash that are shown


@dataclass(frozen=True)
class Link:
    """One link of the chain: what is on record, and whether it still is so."""

    link: str
    value: Any
    text: list[str]  # the value for people
    checks: list[Check] = field(default_factory=list)


def trace(records: Records, word: str, announce: Callable[[str], None]) -> dict[str, Any]:
    """Return the chain of what a word names (`names.find`): `{run_id, experiment, status, named, links, verified}`, plain data.

    Raises:
        UserError: the word names nothing or several things, or the store is of a newer modelyard.
    """
    subject = names.find(records, word)
    assert subject.run_id is not None
    account, hasher = records.account(subject.run_id), Hasher(announce)
    links = list(_links(records, subject, account, hasher))
    return {
        "run_id": subject.run_id,
        "experiment": account.get("experiment"),
        "status": account.get("status"),
        "started": account.get("started"),
        "named": str(subject.file or subject.directory or subject.run_id),
        "links": [{**asdict(link), "verified": all(c.state == "verified" for c in link.checks)} for link in links],
        "verified": all(c.state == "verified" for link in links for c in link.checks),
    }


def _links(records: Records, subject: Subject, account: dict[str, Any], hasher: Hasher) -> Iterator[Link]:
    run_id = subject.run_id
    assert run_id is not None

    def entered(*fields: str) -> Check:
        return checks.account_check(records, run_id, fields)

    yield _data(records, account, entered("data"))
    sha256 = str(account.get("spec_sha256"))
    overrides = " ".join(account.get("overrides", [])) or "(none)"
    yield Link(
        "specification", {"sha256": sha256, "overrides": account.get("overrides")}, [f"{sha256[:_SHORT]}, overrides: {overrides}"],
        [checks.spec_check(records, run_id), entered("spec_sha256", "overrides", "conf")],
    )  # fmt: skip
    yield _code(records, run_id, account, entered("git", "patch_sha256"), hasher)
    yield _environment(account, entered("environment"))
    yield from _stages(records, account, entered("stages"), hasher)
    yield _checkpoint(records, subject, account, entered("checkpoint_sha256"), hasher)
    yield _metrics(records, account, entered("metrics"))
    yield _aliases(records, subject, account)
    complaints = [Check("ledger", "damaged", told) for told in records.store.ledger.complaints()]
    whole = [Check(f"ledger: {len(records.entries)} entries, each follows from the one before", "verified")]
    yield Link("ledger", {"entries": len(records.entries)}, [str(records.store.ledger.path)], complaints or whole)


def _data(records: Records, account: dict[str, Any], entered: Check) -> Link:
    data = account.get("data")
    if data is None:
        return Link("data", None, ["the run has not come so far"], [entered])
    dvc = data.get("dvc", {})
    text = f"{data['name']}: content {data['content_sha256'][:_SHORT]}, DVC's md5 raw {dvc.get('raw')}, prepared {dvc.get('prepared')}"
    now = record.dvc_version(records.root, data["key"])
    moved = Check("dvc.lock", "unknown", f"it says {_words(now)} now: the data have moved on")
    lock = Check("dvc.lock says the same md5", "verified") if now == dvc else moved
    return Link("data", data, [text], [lock, entered])


def _code(records: Records, run_id: str, account: dict[str, Any], entered: Check, hasher: Hasher) -> Link:
    git, patch = account.get("git", {}), account.get("patch_sha256")
    commit = git.get("commit")
    text = [f"commit {commit}" + (f" and a patch, {patch[:_SHORT]}" if patch else ", nothing uncommitted" if commit else "")]
    if not commit:
        found = [Check("commit", "unknown", "the project was no git checkout")]
    elif record.has_commit(records.root, commit):
        found = [Check(f"commit {commit[:_SHORT]} is in this clone", "verified")]
    else:
        found = [Check(f"commit {commit[:_SHORT]}", "missing", "it is not in this clone")]
    patched = checks.patch_check(records, run_id, hasher)
    return Link("code", {**git, "patch_sha256": patch}, text, [*found, *([patched] if patched else []), entered])


def _environment(account: dict[str, Any], entered: Check) -> Link:
    then = account.get("environment", {})
    differs = differences(then)
    text = [_words(then), f"here: {', '.join(differs)}" if differs else "here: the same"]
    return Link("environment", then, text, [entered])


def differences(then: Mapping[str, str]) -> list[str]:
    """Return `name then -> now` for each version on record that differs from what is installed here."""
    now = {name: record.installed(name) for name in then}
    return [f"{name} {version} -> {now[name] or 'not installed'}" for name, version in then.items() if now[name] != version]


def _stages(records: Records, account: dict[str, Any], entered: Check, hasher: Hasher) -> Iterator[Link]:
    for name, stage in account.get("stages", {}).items():
        key = stage.get("key", "")
        if stage.get("status") not in ("ran", "reused", None):  # None: the ledger repeats the keys of finished stages only
            yield Link(f"stage {name}", {"key": key}, [f"{key}, {stage['status']}"], [entered])
            continue
        path = records.store.root / "stages" / name / key / "manifest.json"
        sha256 = sha256_file(path) if path.is_file() else None
        found = checks.stage_checks(records, name, key, hasher)
        yield Link(
            f"stage {name}", {"key": key, "manifest_sha256": sha256}, [key + (f", manifest {sha256[:_SHORT]}" if sha256 else "")], [*found, entered]
        )


def _checkpoint(records: Records, subject: Subject, account: dict[str, Any], entered: Check, hasher: Hasher) -> Link:
    assert subject.run_id is not None
    chosen = account.get("checkpoint_sha256")
    found = [checks.checkpoint_check(records, subject.run_id, hasher), entered]
    text = [f"{chosen}, the run's choice" if chosen else "none yet"]
    if subject.file is not None and subject.directory is None:
        held = records.checkpoints(str(subject.sha256))
        text.append(f"named: {subject.file}, " + (f"equal to {held[0][1]}" if held else f"the weights of {subject.run_id}"))
    if subject.directory is not None:
        text.append(
            f"named: {subject.directory}, {subject.sha256}" + ("" if subject.sha256 == chosen else ", not the one that the run's metrics are of")
        )
        found += _named(subject.directory, account, hasher)
    if subject.sha256 is not None and subject.sha256 == chosen:
        found.append(Check("what was named has the content that the run's record names", "verified"))
    text += [f"also of {run_id}" for run_id in records.runs_of("train", subject.train_key or "") if run_id != subject.run_id]
    for name, sha256 in records.upstream(account).items():
        text.append(f"built on {name}: {sha256} of {', '.join(records.chosen(sha256)) or 'no run on record'}")
    return Link("checkpoint", {"chosen": chosen, "named": subject.sha256}, text, found)


def _named(directory: Path, account: dict[str, Any], hasher: Hasher) -> list[Check]:
    """The files of the checkpoint that was named against its own meta.json, and that against the run."""
    meta = names.read_meta(directory)
    files = meta.get("files", {})
    if not files:
        return [Check(str(directory / "meta.json"), "damaged", "it cannot be read")]
    found = [checks.file_check(directory / name, e["sha256"], hasher, f"{directory.name}/{name}", e["bytes"]) for name, e in files.items()]
    content = (account.get("data") or {}).get("content_sha256")
    if meta.get("data_sha256") != content:
        found.append(Check(f"{directory.name}/meta.json", "damaged", f"it says that the data were {str(meta.get('data_sha256'))[:_SHORT]}"))
    return found


def _metrics(records: Records, account: dict[str, Any], entered: Check) -> Link:
    metrics = account.get("metrics", {})
    text = [f"{split}: " + ", ".join(f"{name} {value:.6g}" for name, value in found.items()) for split, found in metrics.items()]
    key = account.get("stages", {}).get("evaluate", {}).get("key")
    manifest = None if key is None else records.manifest("evaluate", key)
    if manifest is None:
        return Link("metrics", metrics, text or ["none yet"], [entered])
    same = manifest.outputs.get("metrics") == metrics
    what = f"metrics of evaluate/{key}"
    return Link("metrics", metrics, text, [Check(what, "verified") if same else Check(what, "damaged", "run.json says others"), entered])


def _aliases(records: Records, subject: Subject, account: dict[str, Any]) -> Link:
    sha256 = subject.sha256 if subject.directory is not None or subject.file is not None else account.get("checkpoint_sha256")
    found = records.aliases(sha256) if sha256 else []
    text = [f"{e.at}  {_words({k: v for k, v in e.body.items() if k != 'checkpoint_sha256'})}" for e in found]
    tested = [Check(f"entry {e.number} of the ledger", "verified" if e.sound else "damaged") for e in found]
    return Link("aliases", [{"at": e.at, **e.body} for e in found], text or ["none"], tested)


def _words(plain: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in plain.items())


def trace_text(found: dict[str, Any]) -> str:
    """Return the chain for people: what is on record, then what was found of it."""
    lines = [f"{found['named']}", f"run {found['run_id']} ({found['experiment']}), {found['status']}, started {found['started']}", ""]
    for link in found["links"]:
        head, *rest = link["text"] or [""]
        lines += [f"{link['link']:<15} {head}", *(f"{'':<15} {line}" for line in rest)]
        lines += [f"{'':<15}   {Check(**check)}" for check in link["checks"]]
    failed = sum(not link["verified"] for link in found["links"])
    lines += ["", "every link is verified" if found["verified"] else f"{failed} of {len(found['links'])} links are not verified"]
    return "\n".join(lines)
