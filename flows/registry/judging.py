"""A candidate before the gate, as a stage of the store: judged once for each pair of models, data and limits."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.files import digest, write_json
from components.spec.parse import to_plain
from flows import stages
from flows.adapters.dvc_versions import data_version
from flows.attempts import attempted
from flows.catalogue import judged_by
from flows.code import fingerprint
from flows.in_use import InUse
from flows.project import project_root
from flows.registry.candidate import Candidate
from flows.registry.rival import evaluate_champion
from flows.registry.telling import Announce
from flows.registry.versions import EXPORT, Version
from flows.store import Manifest, Partial, Store


def judge_candidate(store: Store, champion: Version | None, candidate: Candidate, using: InUse, announce: Announce) -> dict[str, Any]:
    """Judge a candidate against a champion, if there is one; return the verdict as components.gate.gate.judge does, with `limits`.

    Args:
        using: names what is used, so that nobody removes it before the decision.
        announce: takes a line for the person who watches.

    Raises:
        Incomparable: the champion cannot be judged on the candidate's data.
        UserError: the gate's score is not one of the evaluation.
    """
    rival = None if champion is None else evaluate_champion(store, champion, candidate, using, announce)
    metric, upwards = judged_by(candidate.spec)
    parts = {
        "stage": "gate",
        "config": {"gate": to_plain(candidate.spec.gate), "expect": to_plain(candidate.spec.expect), "judged_by": [metric, upwards]},
        "inputs": {
            "data": candidate.done["data"].outputs["content_sha256"],
            "candidate": candidate.done["evaluate"].key,
            "champion": None if rival is None else rival.key,
            "champion_data": None if champion is None else champion.data["content_sha256"],
        },
        "code": fingerprint(["components.gate.gate"]),
        "environment": stages.environment(),
    }
    with store.run("gate", parts, announce) as partial:
        if isinstance(partial, Partial):
            with attempted(candidate.directory(store), "gate", digest(parts), partial.ownership.token, candidate.spec):
                latencies = _latencies(candidate, champion, partial.directory)
                partial.outputs = _judge(store, candidate, champion, rival, (metric.partition("/")[2], upwards), latencies)
            write_json(partial.directory / "gate.json", partial.outputs)
    found = store.find("gate", parts)
    assert found is not None, "the gate's stage did not commit"
    store.enter(found, experiment=candidate.spec.experiment, run_id=candidate.run_id)
    return found.outputs


def _latencies(candidate: Candidate, champion: Version | None, directory: Path) -> dict[str, float]:
    """The least milliseconds for one sample, of `candidate` and `champion`, in turns (load moves the median); nothing where no limit is set."""
    gate = candidate.spec.gate
    if gate.max_latency_milliseconds is None and gate.max_slowdown is None:
        return {}
    from components.export.measure import compare_exports
    from flows.registry.export import export_candidate

    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=directory) as scratch:
        export_candidate(candidate, Path(scratch), None)
        contenders = {"candidate": Path(scratch)} | ({} if champion is None else {"champion": champion.directory / EXPORT})
        found = compare_exports(contenders, candidate.done["data"].directory, [1])
    return {name: one["latency_milliseconds"][1]["minimum"] for name, one in found.items()}


def _judge(
    store: Store,
    candidate: Candidate,
    champion: Version | None,
    rival: Manifest | None,
    metric: tuple[str, bool],
    latencies: dict[str, float],
) -> dict[str, Any]:
    from components.gate.contender import Contender
    from components.gate.gate import judge

    data = candidate.done["data"].directory
    new = Contender(candidate.done["evaluate"].directory, data, _weights_bytes(Path(candidate.checkpoint)), latencies.get("candidate"))
    spec, limits = candidate.spec, {"limits": asdict(candidate.spec.gate)}
    if champion is None or rival is None:
        return {**judge(new, None, data, spec.gate, spec.expect, metric), **limits}
    trained = store.read("train", champion.stages["train"])
    assert trained is not None, "the champion was evaluated a moment ago"
    size = _weights_bytes(trained.directory / trained.outputs["checkpoint"])
    with data_version(project_root(), champion.data) as trained_on:
        old = Contender(rival.directory, trained_on, size, latencies.get("champion"))
        return {**judge(new, old, data, spec.gate, spec.expect, metric), **limits}


def _weights_bytes(checkpoint: Path) -> int:
    return (checkpoint / "model.safetensors").stat().st_size
