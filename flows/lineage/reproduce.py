"""`modelyard reproduce`: data, code and configuration of a run built anew in a folder of their own, trained again, and the figures side by side."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.errors import RunError, UserError
from components.files import digest, read_json
from flows import record
from flows.lineage import checks, names
from flows.lineage.hashing import Hasher
from flows.lineage.rebuild import rebuild
from flows.lineage.records import Records
from flows.lineage.trace import differences
from flows.processes import end_group
from flows.project import python_command
from flows.search.values import without_search

_GRACE_SECONDS = 20.0  # for the run in the scratch folder to leave, once it is told to
_ELSEWHERE = ("store", "tracking", "remote", "tune")  # parts of a specification that the rebuilt run has of its own


def reproduce(records: Records, word: str, tolerance: float, announce: Callable[[str], None]) -> dict[str, Any]:
    """Train a run again from what is on record of it.

    Args:
        records: of the store that holds the run.
        word: the run's id, the beginning of it, or a checkpoint of it.
        tolerance: by which a metric may differ.
        announce: takes one line for the person who watches.

    Returns:
        `{run_id, reproduced, tolerance, metrics, checkpoint, data, specification, train_key, environment, scratch}`, plain data. `scratch` is
        the folder, null where it was removed because the run was reproduced.

    Raises:
        UserError: the run cannot be rebuilt: unknown, unfinished, its record changed, its commit, patch or packages not here.
        RunError: it was rebuilt and failed.
    """
    if not tolerance >= 0:
        raise UserError("the tolerance is no number that a difference could be compared with", received=tolerance, expected="0 or more")
    account, patch = _require_rebuildable(records, word, announce)
    scratch = Path(tempfile.mkdtemp(prefix="modelyard-reproduce-"))
    reproduced = False
    try:
        announce(f"rebuilding {account['run_id']} in {scratch}")
        project = rebuild(records.root, account, patch, scratch / "project")
        again = _train(project, account, scratch / "store")
        found = _compare(account, again, tolerance)
        reproduced = bool(found["reproduced"])
    finally:
        if reproduced:
            shutil.rmtree(scratch)
        else:
            announce(f"kept for you to look at: {scratch}")
    return {**found, "scratch": None if reproduced else str(scratch)}


def _require_rebuildable(records: Records, word: str, announce: Callable[[str], None]) -> tuple[dict[str, Any], bytes]:
    """Return the run's account and its patch, or refuse before anything is made."""
    run_id = names.find(records, word).run_id
    assert run_id is not None
    hasher = Hasher(announce)
    told = checks.account_check(records, run_id)
    if told.state == "removed":
        raise UserError("the run was removed, its specification and its patch with it", received=str(told))
    if told.failed:
        raise UserError("the run's record is not what was written down", received=str(told), mend="restore it from a copy of the store")
    account = records.account(run_id)
    if account.get("status") != "finished":
        raise UserError("the run has not finished: there is nothing to compare with", received=f"{run_id}, {account.get('status')}")
    wrong = [str(c) for c in (checks.spec_check(records, run_id), checks.patch_check(records, run_id, hasher)) if c is not None and c.failed]
    if wrong:
        raise UserError("the run cannot be rebuilt: what is on record of it is missing or was changed", received="; ".join(wrong))
    commit = account["git"]["commit"]
    if commit is None or not record.has_commit(records.root, commit):
        raise UserError(
            "the run's commit is not in this clone" if commit else "the run was made outside a git checkout",
            received=f"{run_id}: commit {commit}",
            mend="fetch it (`git fetch --all`), or reproduce the run where it was made" if commit else "",
        )
    absent = [f"{name} {version}" for name, version in account["environment"].items() if record.installed(name) is None]
    if absent:
        raise UserError("packages of the run are not installed here", received=", ".join(absent), mend="install them, in these versions")
    patched = account.get("patch_sha256") is not None
    return account, (records.store.root / "runs" / run_id / "uncommitted.patch").read_bytes() if patched else b""


def _train(project: Path, account: dict[str, Any], store: Path) -> dict[str, Any]:
    """Run the run's own command in the rebuilt project, on a store of its own, and return the new run's account."""
    own = ["tracking.mode=disabled", f"store='{store}'"]  # last: they win
    if "remote" in account["spec"]:  # older commits know none
        own.append("remote=null")  # else the checkpoint would be taken from there, and nothing trained
    asked = [*without_search(account["overrides"]), *account["tuned"]] if account.get("tuned") else account["overrides"]  # what was found, no search
    command = python_command("flows.guard", *python_command("flows", "run", *asked, *own, "--json"))
    path = os.pathsep.join(filter(None, (str(project), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        command, cwd=project, env={**os.environ, "PYTHONPATH": path}, start_new_session=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        printed, _ = process.communicate()
    except BaseException:
        end_group(process, signal.SIGINT, _GRACE_SECONDS)
        raise
    result = _last_object(printed)
    if process.returncode == 2:
        raise UserError("the run's command is refused in the rebuilt project", received=result.get("error"))
    if process.returncode != 0 or "run_id" not in result:
        raise RunError(f"the rebuilt run ended with exit code {process.returncode}: {result.get('error', 'it said no more')}")
    account = read_json(store / "runs" / result["run_id"] / "run.json")
    return account


def _last_object(printed: str) -> dict[str, Any]:
    try:
        found = json.loads(printed.splitlines()[-1])
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _compare(then: dict[str, Any], now: dict[str, Any], tolerance: float) -> dict[str, Any]:
    metrics = compare_metrics(then["metrics"], now["metrics"], tolerance)
    same_spec = digest({**now["spec"], **{name: then["spec"][name] for name in _ELSEWHERE if name in then["spec"]}}, length=64) == then["spec_sha256"]
    same_data = then["data"]["content_sha256"] == now["data"]["content_sha256"]
    keys = [account["stages"]["train"]["key"] for account in (then, now)]
    return {
        "run_id": then["run_id"],
        "reproduced": same_spec and same_data and all(m["within"] for m in metrics),
        "tolerance": tolerance,
        "metrics": metrics,
        "checkpoint": {
            "old": then["checkpoint_sha256"],
            "new": now["checkpoint_sha256"],
            "equal": then["checkpoint_sha256"] == now["checkpoint_sha256"],
        },
        "data": {"equal": same_data, "same_in_dvc": then["data"]["dvc"] == now["data"]["dvc"]},
        "specification": {"equal": same_spec},
        "train_key": {"old": keys[0], "new": keys[1], "equal": keys[0] == keys[1]},
        "environment": differences(then["environment"]),
    }


def compare_metrics(then: dict[str, dict[str, float]], now: dict[str, dict[str, float]], tolerance: float) -> list[dict[str, Any]]:
    """Return `{metric, old, new, difference, within}` for every metric that either has; a value is null where it has none.

    Args:
        then, now: `{split: {name: value}}`.
        tolerance: the greatest difference that is within; two NaN do not differ.
    """
    flat = [{f"{split}/{name}": value for split, found in metrics.items() for name, value in found.items()} for metrics in (then, now)]
    rows = []
    for name in dict.fromkeys([*flat[0], *flat[1]]):
        old, new = flat[0].get(name), flat[1].get(name)
        both_nan = old is not None and new is not None and math.isnan(old) and math.isnan(new)
        difference = None if old is None or new is None else 0.0 if old == new or both_nan else new - old
        rows.append(
            {"metric": name, "old": old, "new": new, "difference": difference, "within": difference is not None and abs(difference) <= tolerance}
        )
    return rows


def reproduce_text(found: dict[str, Any]) -> str:
    """Return what came out for people: a line a metric, then the rest of the chain."""
    width = max((len(m["metric"]) for m in found["metrics"]), default=0)
    lines = [f"run {found['run_id']}, tolerance {found['tolerance']:g}", f"  {'metric':<{width}}  {'old':>22}  {'new':>22}  difference"]
    for m in found["metrics"]:
        old, new = ("absent" if m[side] is None else repr(m[side]) for side in ("old", "new"))
        said = "equal" if m["difference"] == 0 else "absent" if m["difference"] is None else f"{m['difference']:+.3g}"
        lines.append(f"  {m['metric']:<{width}}  {old:>22}  {new:>22}  {said}{'' if m['within'] else '  NOT WITHIN'}")
    checkpoint, data = found["checkpoint"], found["data"]
    lines += [
        f"checkpoint     {'equal to the bit' if checkpoint['equal'] else 'other bits'}: {checkpoint['old'][:16]}, {checkpoint['new'][:16]}",
        f"data           {'the same content' if data['equal'] else 'OTHER CONTENT'}, DVC's md5 {'the same' if data['same_in_dvc'] else 'differ'}",
        f"specification  {'the same' if found['specification']['equal'] else 'DIFFERS'}",
        f"train key      {'the same' if found['train_key']['equal'] else 'differs'}: configuration, data, code and versions in one hash",
        f"environment    {', '.join(found['environment']) or 'the same'}",
        f"{'reproduced' if found['reproduced'] else 'NOT REPRODUCED'}",
    ]
    return "\n".join(lines)
