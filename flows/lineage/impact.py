"""`modelyard impact`: what depends on a data set, a version of one, a file of the configuration, a module."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from components.data.card import load_card
from components.data.params import PREPARED, RAW
from components.errors import UserError, nearest
from components.files import sha256_file
from flows.code import fingerprint
from flows.lineage.records import Records
from flows.stages import SEARCHED

_HASH = re.compile(r"[0-9a-f]{4,64}(\.dir)?")
_TEMPLATES = Path("components/reporting/templates")
_ABSENT = "gone"


@dataclass(frozen=True)
class Dependent:
    """A run that depends on what was asked for.

    Attributes:
        by: how it depends on it.
        since: whether it has changed since: "unchanged", "changed", "gone" (it is not there any more), "unknown".
    """

    run_id: str
    experiment: str
    started: str
    status: str
    metrics: dict[str, Any]
    by: str
    since: str


# Says of a run's account how it depends on the thing and whether that has changed since; None where it does not depend.
Judge = Callable[[dict[str, Any]], tuple[str, str] | None]


def impact(records: Records, word: str) -> dict[str, Any]:
    """Return the runs that depend on what a word names: `{what, runs, unjudged}`, plain data; the newest run first.

    `unjudged` are runs of which it is not known, because their stages were removed or they were recorded before it was written down.

    Raises:
        UserError: the word names nothing that a run can depend on, or versions of several data.
    """
    what, judge, known = _judge(records, word)
    accounts = {run_id: records.account(run_id) for run_id in records.run_ids}
    unjudged = [run_id for run_id, account in accounts.items() if not known(account)]
    said = {run_id: told for run_id, account in accounts.items() if run_id not in unjudged and (told := judge(account)) is not None}
    for run_id, account in accounts.items():
        said |= _built_on(records, run_id, account, said)
    if not said and (file := _in_project(records.root, word)) and not (records.root / file).exists():
        raise UserError("there is no such file, and no run on record has used one", received=file)
    found = [_dependent(run_id, accounts[run_id], *told) for run_id, told in said.items()]
    found.sort(key=lambda d: d.started, reverse=True)
    return {"what": what, "runs": [asdict(d) for d in found], "unjudged": [run_id for run_id in unjudged if run_id not in said]}


def _built_on(records: Records, run_id: str, account: dict[str, Any], said: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """What is said of a run that depends on the thing through another run's checkpoint only."""
    above = [other for sha256 in records.upstream(account).values() for other in records.chosen(sha256) if other in said]
    return {run_id: (f"built on {above[0]}: {said[above[0]][0]}", said[above[0]][1])} if above and run_id not in said else {}


def _dependent(run_id: str, account: dict[str, Any], by: str, since: str) -> Dependent:
    experiment, started, status = (str(account.get(name)) for name in ("experiment", "started", "status"))
    return Dependent(run_id, experiment, started, status, _headline(account), by, since)


def _headline(account: dict[str, Any]) -> dict[str, Any]:
    """The figures that are expected of the experiment, else the one that training monitors, for every split."""
    spec = account.get("spec", {})
    expected = [e["metric"] for e in spec.get("expect", [])] or [spec.get("trainer", {}).get("monitor", {}).get("metric", "")]
    names = [metric.partition("/")[2] for metric in expected]
    return {f"{split}/{name}": found[name] for split, found in account.get("metrics", {}).items() for name in names if name in found}


def _judge(records: Records, word: str) -> tuple[str, Judge, Callable[[dict[str, Any]], bool]]:
    """Return what a word names, how a run is judged, and whether a run can be judged at all."""
    file = _in_project(records.root, word)
    if file is not None and file.parts[0] == "conf" and file.suffix == ".yaml":
        return _configuration(records, file)
    if file is not None and (file.suffix == ".py" or file.is_relative_to(_TEMPLATES)):
        return _code(records, file)
    if file is not None and (file.is_relative_to(RAW) or file.is_relative_to(PREPARED)) and len(file.parts) > 2:
        return _data(records, f"the data in {file}", lambda data: data["key"] == file.parts[2])
    datas = [a["data"] for run_id in records.run_ids if (a := records.account(run_id)).get("data")]
    names = sorted({data[field] for data in datas for field in ("name", "key")})
    if word in names:
        return _data(records, f"data set {word}", lambda data: word in (data["name"], data["key"]))
    hashes = sorted({h for data in datas for h in _hashes(data) if _HASH.fullmatch(word) and h.startswith(word)})
    if len(hashes) == 1:
        return _data(records, f"data version {hashes[0]}", lambda data: hashes[0] in _hashes(data))
    if hashes:
        raise UserError(
            f"'{word}' is ambiguous: {len(hashes)} versions of data begin so",
            received=word,
            expected=f"one of: {', '.join(hashes)}",
            mend="give more of it",
        )
    raise UserError(
        f"no run in this store depends on '{word}'{nearest(word, names)}",
        received=f"{word!r} in {records.store.root}",
        expected="a data set's name, the beginning of a content hash or of one of DVC's md5, a file of conf/, components/ or flows/; "
        f"data sets of this store: {', '.join(names) or '(none)'}",
    )


def _in_project(root: Path, word: str) -> Path | None:
    """The path from the project's folder that a word is; of a file that is gone too, if it looks like one."""
    candidates = [p for p in (Path(word).resolve(), root / word) if p.is_relative_to(root) and p != root]
    found = next((p for p in candidates if p.exists()), root / word if word.endswith((".py", ".yaml", ".html")) else None)
    return found.relative_to(root) if found is not None and found.is_relative_to(root) else None


def _hashes(data: dict[str, Any]) -> list[str]:
    return [h for h in (data["content_sha256"], *data.get("dvc", {}).values()) if h]


def _data(records: Records, what: str, chosen: Callable[[dict[str, Any]], bool]) -> tuple[str, Judge, Callable[[dict[str, Any]], bool]]:
    def judge(account: dict[str, Any]) -> tuple[str, str] | None:
        data = account.get("data")
        if not data or not chosen(data):
            return None
        return f"trained on {data['key']}, version {data['content_sha256'][:12]}", _data_since(records.root, data)

    return what, judge, lambda account: True


def _data_since(root: Path, data: dict[str, Any]) -> str:
    try:
        now = load_card(root / PREPARED / data["key"]).content_sha256
    except UserError:
        return _ABSENT
    return "unchanged" if now == data["content_sha256"] else "changed"


def _configuration(records: Records, file: Path) -> tuple[str, Judge, Callable[[dict[str, Any]], bool]]:
    """A file of conf/: runs whose composition read it. What older records say of it is the experiment's and the data set's name."""
    name, path = file.as_posix(), records.root / file
    now = sha256_file(path) if path.is_file() else None
    group, _, choice = file.relative_to("conf").with_suffix("").as_posix().partition("/")

    def judge(account: dict[str, Any]) -> tuple[str, str] | None:
        if "conf" in account:
            then = account["conf"].get(name)
            return None if then is None else ("its configuration was read from it", _since(then, now))
        named = {"experiment": account.get("experiment"), "data": (account.get("data") or {}).get("name")}.get(group)
        return (f"{group} {choice}", "unknown") if named == _own_name(path, group, choice) else None

    return name, judge, lambda account: "conf" in account or group in ("experiment", "data")


def _own_name(path: Path, group: str, choice: str) -> str:
    """A data set's name is in its file, and is the file's in general."""
    if group != "data" or not path.is_file():
        return choice
    return str((yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("name", choice))


def _since(then: str, now: str | None) -> str:
    return _ABSENT if now is None else "unchanged" if then == now else "changed"


def _code(records: Records, file: Path) -> tuple[str, Judge, Callable[[dict[str, Any]], bool]]:
    """A module, or a template of the report: runs with a stage whose key counts it. Comments and docstrings are no change."""
    path = records.root / file
    if file.is_relative_to(_TEMPLATES):
        name, now = f"templates/{file.name}", sha256_file(path)[:16] if path.is_file() else None
    else:
        name = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
        now = fingerprint([name]).get(name)

    def codes(account: dict[str, Any]) -> dict[str, dict[str, str] | None]:
        keys = {stage: account.get("stages", {}).get(stage, {}).get("key") for stage in SEARCHED}
        found = {stage: records.manifest(stage, key) for stage, key in keys.items() if key}
        return {stage: None if manifest is None else manifest.parts.get("code", {}) for stage, manifest in found.items()}

    def judge(account: dict[str, Any]) -> tuple[str, str] | None:
        used = {stage: code[name] for stage, code in codes(account).items() if code is not None and name in code}
        if not used:
            return None
        return f"code of {', '.join(used)}", _since(next(iter(used.values())), now)

    return f"module {name}", judge, lambda account: judge(account) is not None or None not in codes(account).values()


def impact_text(found: dict[str, Any]) -> str:
    """Return the dependents for people, two lines each."""
    lines = [f"{found['what']}: runs that depend on it: {len(found['runs'])}"]
    for run in found["runs"]:
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in run["metrics"].items())
        lines += [
            f"  {run['run_id']}  {run['experiment']}  {run['started']}  {run['status']}  {metrics}",
            f"    {run['by']}; since then: {run['since']}",
        ]
    if found["unjudged"]:
        why = "not written down then, or their stages are gone or unfinished"
        lines.append(f"of {len(found['unjudged'])} runs it is not known ({why}): {', '.join(found['unjudged'])}")
    return "\n".join(lines)
