"""Floating-point operations: how many a training step makes, and how many a device can make in a second.

Legend: B samples, I inputs, O outputs of a layer.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from components.data.draws import Draws
from components.layers.dropout import hand_draws, stochastic_layers
from components.spec.schema import Spec
from components.tasks.base import Batch, Phase, StepContext, Task
from components.training.inputs import Inputs
from components.training.session import Session


def step_flops(task: Task, model: nn.Module, batch: Mapping[str, Tensor]) -> int | None:
    """Return the floating-point operations of one training step of a batch: forward and backward of all phases.

    A multiplication and the addition that follows count as two; matrix products, convolutions and attention count, what is done value by
    value and the optimizer do not. So a linear layer makes `2 B I O` forward and `4 B I O` backward, `2 B I O` where its inputs need no gradient.

    A copy of task and model runs on the meta device, where tensors have shapes and no values: nothing is computed, held or changed.

    Args:
        task: what a step means.
        model: the bare model, before `strategy.prepare`: activations that are computed twice to save memory are no useful work
            (Chowdhery et al. 2022, "PaLM", appendix B), and a copy should not carry anybody's hooks.
        batch: of one micro-batch; only shapes and types are read.

    Returns:
        None where the task cannot run without values: it draws with a generator, branches on a number, picks rows by a mask.
    """
    try:
        meta_task, meta_model = _without_values(task, model)
        meta_batch = {name: column.to("meta") for name, column in batch.items()}
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            for phase in meta_task.phases:
                _forward_and_backward(meta_task, meta_model, phase, meta_batch)
        return int(counter.get_total_flops())
    except Exception:
        # What fails here is the count, a figure that nobody depends on. A fault of the task's own is told by its first real step.
        return None


def useful_flops(session: Session, spec: Spec, task: Task, model: nn.Module, training: Inputs) -> tuple[float | None, float | None]:
    """Return a worker's floating-point operations of a step and its device's peak in a second; nothing on a CPU, whose peak nobody publishes."""
    if session.device.type != "cuda":
        return None, None
    parts = next(training.training(epoch=0))
    one = step_flops(task, model, parts[0].batch)
    return None if one is None else float(one * len(parts)), peak_flops(torch.cuda.get_device_name(session.device), spec.trainer.precision)


class _MetaCopy(TorchFunctionMode):
    """Inside, `copy.deepcopy` of a tensor gives one of its shape on the meta device. Parameters are copied by `data.clone()`."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        if func is torch.Tensor.clone:
            return args[0].to("meta")
        if func is torch.Tensor.__deepcopy__:
            tensor, memo = args
            return memo.setdefault(id(tensor), tensor.detach().to("meta").requires_grad_(tensor.requires_grad))
        return func(*args, **(kwargs or {}))


def _without_values(task: Task, model: nn.Module) -> tuple[Task, nn.Module]:
    """Both in one copy: what they share stays shared."""
    with _MetaCopy():
        return copy.deepcopy((task, model))


def _forward_and_backward(task: Task, model: nn.Module, phase: Phase, batch: Batch) -> None:
    networks = task.split(model)
    trained = {id(p) for p in networks[phase.network].parameters()}
    frozen = [p for p in model.parameters() if p.requires_grad and id(p) not in trained]
    for parameter in frozen:  # as the step does: no gradients of the other phases' weights
        parameter.requires_grad_(False)
    draws = Draws(0, 0, batch["sample_id"])
    hand_draws(stochastic_layers(model), draws)
    sums = task.losses(networks, batch, StepContext(phase, draws, step=0, epoch=0))
    torch.stack(list(sums.values())).sum().backward()  # type: ignore[no-untyped-call]
    for parameter in frozen:
        parameter.requires_grad_(True)


_TERA = 1e12
# Published dense peaks in 10^12 a second: (words of the device's name, fp32 without tensor cores, fp16, bf16). The first match counts.
# Half precision is what PyTorch uses, products added up in fp32; datasheets that print twice as much count structured sparsity.
# Sources: NVIDIA's datasheets of H200, H100 (SXM, PCIe, NVL), A100, L40S, L4, V100, T4; whitepapers of Ada (appendix A, RTX 4090)
# and Ampere GA102 (table 2, RTX 3090). V100 and T4 have no bf16 units.
_PEAKS: tuple[tuple[str, float, float, float | None], ...] = (
    ("H200", 66.9, 989.4, 989.4),
    ("H100 PCIe", 51.2, 756.0, 756.0),
    ("H100 NVL", 60.0, 835.5, 835.5),
    ("H100", 66.9, 989.4, 989.4),
    ("A100", 19.5, 312.0, 312.0),
    ("L40S", 91.6, 362.1, 362.1),
    ("L4", 30.3, 121.0, 121.0),
    ("V100 PCIE", 14.0, 112.0, None),
    ("V100", 15.7, 125.0, None),
    ("T4", 8.1, 65.0, None),
    ("RTX 4090", 82.6, 165.2, 165.2),
    ("RTX 3090", 35.6, 71.0, 71.0),
)
_OTHERS = {"laptop", "d", "ti", "mig"}  # a slower or faster device, or a part of one, that shares the name


def peak_flops(device_name: str, precision: str) -> float | None:
    """Return a device's published peak of dense floating-point operations a second.

    Args:
        device_name: as `torch.cuda.get_device_name()` says it; "cpu" is none of the table.
        precision: "fp32", "fp16" or "bf16". fp32 is that of the plain units: PyTorch's matrix products use no TF32 unless asked to.

    Returns:
        None where no figure is known.
    """
    words = set(re.split(r"[\s-]+", device_name.lower()))
    if words & _OTHERS:
        return None
    for name, fp32, fp16, bf16 in _PEAKS:
        if words.issuperset(name.lower().split()):
            peak = {"fp32": fp32, "fp16": fp16, "bf16": bf16}[precision]
            return None if peak is None else peak * _TERA
    return None
