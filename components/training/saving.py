"""What a checkpoint of a training holds, and taking it up again: by the same run after an interruption, or by another run that was told to."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from components.errors import UserError
from components.files import digest, read_json
from components.spec.parse import to_plain
from components.spec.schema import Spec
from components.training import checkpoint, strategy
from components.training.checkpoint import Checkpoints
from components.training.generators import generator_states, restore_generators, seed_generators
from components.training.plain_state import load_state
from components.training.pointer import resolve_pointer
from components.training.progress import Progress
from components.training.session import Session, gather
from components.training.step import Stepper


class Saver:
    """Saves and restores one training.

    Args:
        session: every rank calls; rank 0 writes.
        spec: compared with the checkpoint's.
        data_sha256: the data version, likewise.
        checkpoints: of this training.
        origin: what the caller wants to find again in meta.json (code, tracker's id), plain data.
    """

    def __init__(self, session: Session, spec: Spec, data_sha256: str, checkpoints: Checkpoints, origin: Mapping[str, Any]) -> None:
        self.session, self.spec, self.data_sha256, self.checkpoints, self.origin = session, spec, data_sha256, checkpoints, origin

    def save(self, stepper: Stepper, progress: Progress, window: Tensor, metrics: Mapping[str, float], *, best: bool) -> None:
        """Rank 0 writes; the others go on, because nothing that they do next touches what it reads."""
        started = time.perf_counter()
        writes = self.session.rank == 0
        weights = {"model": strategy.model_state(stepper.model, keep=writes)}
        if stepper.ema is not None:
            weights["ema"] = strategy.whole(stepper.ema.state(), keep=writes)
        state = stepper.state(keep=writes)
        own = {"generators": generator_states(self.session.device), "window": window.cpu()}
        carried = stepper.carry if progress.samples else [{} for _ in stepper.carry]  # an epoch begins without
        ranks = gather(self.session, (own, [{k: v.detach().cpu() for k, v in carry.items()} for carry in carried]))
        if writes:
            state |= {"progress": asdict(progress), "ranks": [r for r, _ in ranks], "carry": joined_carry([carry for _, carry in ranks])}
            first = bool(metrics) and self.checkpoints.path("best") is None  # even where its value is no number: a run has a best checkpoint
            self.checkpoints.save(progress.step, weights, state, self.meta(progress, metrics), best=best or first)
        progress.spent["checkpoint"] += time.perf_counter() - started

    def meta(self, progress: Progress, metrics: Mapping[str, float]) -> dict[str, Any]:
        """What meta.json says, beside its files."""
        return {
            "epoch": progress.epoch,
            "samples": progress.samples,
            "stopped": progress.stopped,
            "metrics": dict(metrics),
            "value": metrics.get(self.spec.trainer.monitor.metric),
            "world": self.session.world,
            "data_sha256": self.data_sha256,
            "spec_digest": digest(to_plain(self.spec)),
            "spec": to_plain(self.spec),
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
            "origin": dict(self.origin),
        }

    def restore(self, stepper: Stepper, window: Tensor) -> Progress:
        """Take up this training's latest checkpoint, or the one that `resume.checkpoint` names, or begin.

        Raises:
            UserError: the checkpoint is damaged, or is of other data, another model, optimizer or batch size than permitted.
        """
        own = self.checkpoints.newest()
        named = None if self.spec.resume.checkpoint is None else Path(self.spec.resume.checkpoint)
        found = own if own is not None or named is None else resolve_pointer(named)
        seed_generators(self.spec.seed, self.session.rank)
        if found is None:
            return Progress()
        meta = checkpoint.verify(found) if own is None else read_json(found / "meta.json")
        if own is not None and self.session.rank == 0:
            self.checkpoints.adopt(own)
        changed = self._require_same(found, meta)
        checkpoint.load_weights(found, stepper.model)
        state = load_state(found)
        if "optimizer" not in changed or meta["spec"]["optimizer"]["_target_"] == self.spec.optimizer.name:
            stepper.load(state)
        if stepper.ema is not None and "ema.safetensors" in meta["files"]:
            stepper.ema.load(strategy.placed(load_file(found / "ema.safetensors"), stepper.model.state_dict()))
        progress = Progress(**state["progress"])
        if own is None:
            progress.stopped = ""  # that it had ended is no reason for this run to end
        dealt_anew = "data" in changed or ("batch_size" in changed and self.spec.trainer.order == "contiguous")
        if dealt_anew and progress.samples:  # a position in another order, or in other streams, means nothing: begin the next epoch
            progress.epoch, progress.samples = progress.epoch + 1, 0
        elif progress.samples:
            stepper.carry = dealt_carry(state["carry"], self.session, len(stepper.carry))
        self._restore_rank(state["ranks"], window, progress.step)
        return progress

    def _restore_rank(self, ranks: list[dict[str, Any]], window: Tensor, step: int) -> None:
        """The same number of workers: each goes on with its own. Another: generators begin anew, rank 0 takes all partial sums."""
        rank = self.session.rank
        if len(ranks) == self.session.world:
            restore_generators(ranks[rank]["generators"], self.session.device)
            window.copy_(ranks[rank]["window"])
            return
        seed_generators(self.spec.seed * 1_000_003 + step, rank)
        window.copy_(torch.stack([r["window"] for r in ranks]).sum() if rank == 0 else torch.zeros(()))

    def _require_same(self, found: Path, meta: Mapping[str, Any]) -> set[str]:
        """Return which of the comparable fields differ; all of them are permitted."""
        plain = to_plain(self.spec)
        fields = {
            "data": (meta["data_sha256"], self.data_sha256),
            "model": (meta["spec"]["model"], plain["model"]),
            "optimizer": tuple({k: s[k] for k in ("optimizer", "parameters", "phases")} for s in (meta["spec"], plain)),
            "batch_size": (meta["spec"]["trainer"]["batch_size"], plain["trainer"]["batch_size"]),
        }
        changed = {name for name, (before, now) in fields.items() if before != now}
        for name in sorted(changed - set(self.spec.resume.permit)):
            before, now = fields[name]
            raise UserError(
                f"the training cannot go on from this checkpoint: {name} is not the same ({found})",
                received=now,
                expected=before,
                mend=f"resume.permit=[{name}] goes on all the same; or delete the checkpoint to begin anew",
            )
        return changed


def joined_carry(ranks: list[list[dict[str, Tensor]]]) -> dict[str, Tensor]:
    """All ranks' carries, each `(b, ...)`, as one `(B, ...)` in the order of the global batch's rows.

    With W ranks of A micro-batches, micro-batch i of rank r took every (W A)-th row from r + W i.
    """
    world, parts = len(ranks), len(ranks[0])
    dealt = {r + world * i: ranks[r][i] for r in range(world) for i in range(parts)}
    joined = {}
    for name in dealt[0]:
        rows = sum(len(carry[name]) for carry in dealt.values())
        joined[name] = dealt[0][name].new_empty((rows, *dealt[0][name].shape[1:]))
        for place, carry in dealt.items():
            joined[name][place :: world * parts] = carry[name]
    return joined


def dealt_carry(joined: Mapping[str, Tensor], session: Session, parts: int) -> list[dict[str, Tensor]]:
    """This rank's rows of a joined carry, a micro-batch each."""
    stride = session.world * parts
    return [{k: v[session.rank + session.world * i :: stride].to(session.device) for k, v in joined.items()} for i in range(parts)]
