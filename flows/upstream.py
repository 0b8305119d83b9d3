"""Runs that another run builds on: `upstream: {features: [experiment=cnn/lenet5, data=fashion_mnist]}` trains that one first, or reuses it.

What of an upstream run counts downstream is the checkpoint alone; the task is handed its directory under the name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.errors import UserError
from components.spec.parse import to_plain
from components.spec.schema import Spec
from flows import stages
from flows.compose import compose
from flows.store import Manifest, Store

NEEDED = ("data", "check", "train")


def upstream_specs(root: Path, spec: Spec) -> dict[str, Spec]:
    """Compose the runs that a specification builds on; where and how they are carried out is as the run itself.

    Raises:
        UserError: one does not compose, or builds on others in turn: a chain longer than two is a flow of its own.
    """
    found = {}
    for name, overrides in spec.upstream.items():
        composed = compose(root, overrides)
        if composed.upstream:
            raise UserError(f"upstream.{name} builds on other runs itself", received=sorted(composed.upstream), expected="a run that stands alone")
        if composed.tune is not None:
            raise UserError(f"upstream.{name} is a search", received=overrides, expected="one training", mend="name the values that the search found")
        found[name] = replace(composed, cluster=spec.cluster, tracking=spec.tracking, store=spec.store, remote=spec.remote)
    return found


def finished(root: Path, spec: Spec, store: Store) -> dict[str, Manifest]:
    """Return the train manifests of those upstream runs that the store holds already."""
    decided = {name: stages.decide(upstream, store) for name, upstream in upstream_specs(root, spec).items()}
    trained = {name: d.manifest for name, decisions in decided.items() for d in decisions if d.stage == "train"}
    return {name: manifest for name, manifest in trained.items() if manifest is not None}


def complete(root: Path, spec: Spec, train: Callable[[str, Spec], Manifest]) -> dict[str, Manifest]:
    """Return the train manifests of all upstream runs, `train(name, spec)` giving each."""
    return {name: train(name, upstream) for name, upstream in upstream_specs(root, spec).items()}


def job_config(spec: Spec, done: Mapping[str, Manifest]) -> dict[str, Any]:
    """Return what every job is told: the specification, the data and which version they must be, the checkpoints that it builds on.

    Args:
        done: the finished stages: `data`, and `upstream.<name>` for each.
    """
    data = done["data"]
    upstream = {name: checkpoint(done[f"upstream.{name}"]) for name in spec.upstream}
    return {"spec": to_plain(spec), "data": str(data.directory), "content_sha256": data.outputs["content_sha256"], "upstream": upstream}


def checkpoint(manifest: Manifest) -> str:
    """The directory of a train stage's best checkpoint."""
    return str(manifest.directory / manifest.outputs["checkpoint"])
