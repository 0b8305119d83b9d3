"""How a model is spread over the workers, and how its parts are brought together again for a checkpoint.

One process and DDP hold whole tensors; FSDP2 (`fully_shard`) holds a part of each (a DTensor). `full` and `place` are the bridge, so that a
checkpoint has one form whatever strategy wrote it, and another strategy or number of workers can take it up.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from components.errors import UserError, nearest
from components.layers.batchnorm import synchronise
from components.optim.groups import layers_of
from components.spec.schema import Spec
from components.tasks.base import Batch, Phase, Task
from components.training.session import Session


def prepare(model: nn.Module, spec: Spec, session: Session, task: Task) -> nn.Module:
    """Return the model with its switches set: synchronised batch statistics, memory format, recomputation, compilation, sharding.

    Names in the state dict stay as they were.

    Raises:
        UserError: a pattern of `performance.recompute` that no module's name matches.
    """
    performance = spec.performance
    if spec.trainer.sync_batchnorm and session.world > 1:
        model = synchronise(model)
    if performance.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _recompute(model, performance.recompute)
    if performance.strategy == "fsdp" and session.world > 1:
        _shard(model, task)
    if performance.compile:
        for network in task.split(model).values():
            network.compile()  # type: ignore[no-untyped-call] # in place: no wrapper, so no `_orig_mod.` in any name
    return model


def _recompute(model: nn.Module, patterns: tuple[str, ...]) -> None:
    """Trade time for memory (Chen et al. 2016): the modules' activations are not kept for the backward pass but computed again."""
    names = {name: module for name, module in model.named_modules() if name}
    for pattern in patterns:
        found = fnmatch.filter(names, pattern)
        if not found:
            raise UserError(
                f"performance.recompute matches no module{nearest(pattern, names)}", received=pattern, expected=", ".join(list(names)[:20])
            )
        for name in found:
            module = names[name]
            module.forward = functools.partial(checkpoint, module.forward, use_reentrant=False)  # type: ignore[method-assign]


def _shard(model: nn.Module, task: Task) -> None:
    """Shard layer by layer, so that a worker holds one whole layer at a time; then what is left of each network."""
    from torch.distributed.fsdp import fully_shard

    for network in task.split(model).values():
        for layer in layers_of(network):
            if next(layer.parameters(), None) is not None and type(layer) not in (nn.ModuleList, nn.ModuleDict):  # these have no forward
                fully_shard(layer)
        fully_shard(network)


def laid_out(batch: Batch, spec: Spec) -> Batch:
    """The batch in the memory format that the model's weights have."""
    if not spec.performance.channels_last:
        return batch
    return {k: v.contiguous(memory_format=torch.channels_last) if v.dim() == 4 else v for k, v in batch.items()}


def wrap(networks: Mapping[str, nn.Module], phase: Phase, spec: Spec, session: Session) -> dict[str, nn.Module]:
    """The networks as a phase sees them: its own in DDP, the others bare, so that DDP never waits for gradients that do not come."""
    if session.world == 1 or spec.performance.strategy == "fsdp":
        return dict(networks)
    own = DistributedDataParallel(networks[phase.network], gradient_as_bucket_view=True)
    return {**networks, phase.network: own}


def exchanging(network: nn.Module, *, now: bool) -> AbstractContextManager[Any]:
    """The context of a forward and backward pass whose gradients are exchanged over the ranks, or only added up here."""
    if isinstance(network, DistributedDataParallel) and not now:
        return network.no_sync()
    exchange = getattr(network, "set_requires_gradient_sync", None)  # FSDP's
    if exchange is not None:
        exchange(now)
    return nullcontext()


def full(value: Any) -> Any:
    """A sharded tensor as a whole one (every rank must ask); anything else as it is."""
    return value.full_tensor() if _is_sharded(value) else value


def place(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, spread as `like` is (every rank must ask)."""
    if not _is_sharded(like):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)  # type: ignore[attr-defined]


def _is_sharded(value: Any) -> bool:
    """A DTensor, told by what it can do: importing torch.distributed.tensor costs a second that a run without it need not spend."""
    return hasattr(value, "full_tensor")


def model_state(model: nn.Module, *, keep: bool = True) -> dict[str, Tensor]:
    """The whole weights and buffers by their plain names, on the CPU, copies. Every rank must ask, and those that `keep` get them."""
    return whole(model.state_dict(), keep=keep)


def whole(tensors: Mapping[str, Tensor], *, keep: bool = True) -> dict[str, Tensor]:
    """Whole tensors on the CPU, copies. Every rank must ask, and those that `keep` get them: eight ranks of a machine would hold eight copies."""
    found = {}
    for name, value in tensors.items():
        gathered = full(value.detach())
        if keep:
            found[name] = gathered.to("cpu", copy=True).contiguous()
    return found


def placed(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors, each spread as its namesake is; a name without one stays, for the strict loading to refuse. Every rank must ask."""
    return {k: place(v, like[k]) if k in like else v for k, v in tensors.items()}


def load_model_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load whole weights, strictly, into a model however it is spread."""
    model.load_state_dict(placed(state, model.state_dict()))


def optimizer_state(optimizer: torch.optim.Optimizer, *, keep: bool = True) -> dict[str, Any]:
    """`optimizer.state_dict()` with whole tensors. Every rank must ask, and only those that `keep` may use it.

    What was sharded is laid on the CPU, one tensor after the other: all of it at once need not fit into a GPU.
    """
    state = optimizer.state_dict()
    return {**state, "state": {i: {k: _gathered(v, keep=keep) for k, v in entry.items()} for i, entry in state["state"].items()}}


def _gathered(value: Any, *, keep: bool) -> Any:
    if not _is_sharded(value):
        return value
    gathered = full(value)
    return gathered.cpu() if keep else None


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load what `optimizer_state` gave. The options of the groups stay as configured: a resumed run may be allowed to change them."""
    options = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    entries = {
        i: {k: place(v, parameters[i]) if isinstance(v, Tensor) and v.shape == parameters[i].shape else v for k, v in entry.items()}
        for i, entry in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": entries})
    for group, option in zip(optimizer.param_groups, options, strict=True):
        group.update(option)
