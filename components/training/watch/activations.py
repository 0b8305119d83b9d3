"""What hooks measure of activations while a watched step runs.

Legend: B batch, C channels or units, T time, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from components.training.nonfinite import any_not_finite
from components.training.watch.tape import Tape

# Beyond it the gradient is lost: |x| > 10 for the sigmoid (notes 002 D22; there the derivative is 4.5e-5, T14). tanh(x) = 2 sigmoid(2x) - 1
# has that derivative's point at 5, and the hard sigmoid is flat from 3 on.
SATURATES_AT: dict[type[nn.Module], float] = {nn.Sigmoid: 10.0, nn.Tanh: 5.0, nn.Hardsigmoid: 3.0}
_AFFINE = (nn.Linear, nn.Bilinear, _ConvNd)
_CHANNELS_FIRST = (_ConvNd, _NormBase)


class Activations:
    """Hooks on every module of some networks.

    Only modules can be hooked: a ReLU called as a function is seen through its neighbours alone, and code that `torch.compile` made before the
    hooks came does not call them, so nothing is measured of it.

    Args:
        networks: the bare ones, so that a module's name is the same with and without DDP.
        tape: takes the measurements.
    """

    def __init__(self, networks: Mapping[str, nn.Module], tape: Tape) -> None:
        self._tape = tape
        self._modules = list(_named_modules(networks))
        self._active: dict[tuple[str, int], Tensor] = {}  # (layer, units) -> (units,) bool: was it ever above 0 in this window?

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Measure every forward pass inside."""
        handles = [module.register_forward_hook(partial(self._measure, name, axis)) for name, module, axis in self._modules]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def close_window(self) -> None:
        """Write down which part of each ReLU's units was never active since the last call: `dead`."""
        for (layer, units), active in self._active.items():
            self._tape.write("dead", layer, (~active).sum() / units, weight=units)
        self._active = {}

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _measure(self, name: str, axis: int, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        bad = any_not_finite(output)
        if bad is not None:
            self._tape.write("not_finite", name, bad)
        if not isinstance(output, Tensor) or not output.is_floating_point() or output.numel() == 0:
            return
        if isinstance(module, _AFFINE):
            variance, mean = torch.var_mean(exact(output), correction=0)
            self._tape.write("activation", name, torch.stack([variance, mean]), weight=output.numel())
        elif isinstance(module, nn.ReLU):
            self._note_active(name, axis, output.detach())
        elif type(module) in SATURATES_AT and inputs:
            beyond = torch.count_nonzero((inputs[0] > SATURATES_AT[type(module)]) | (inputs[0] < -SATURATES_AT[type(module)]))
            self._tape.write("saturated", name, beyond / output.numel(), weight=output.numel())

    def _note_active(self, name: str, axis: int, output: Tensor) -> None:
        """Join the units of this batch with those of the window. (B, C), (B, C, H, W), (B, C, T) or (B, T, C) -> (C,)."""
        if output.dim() < 2:  # one unit
            output = output.reshape(-1, 1)
        # The greatest, not "any above 0": no copy of an activation is made, whose peak of memory would be the run's.
        active = output.amax(dim=[i for i in range(output.dim()) if i != axis % output.dim()]) > 0
        key = (name, len(active))
        before = self._active.get(key)
        self._active[key] = active if before is None else before | active


def exact(values: Tensor) -> Tensor:
    """Return values in at least float32: a mean of a large bfloat16 tensor is too coarse."""
    return values if values.dtype == torch.float64 else values.float()


def _named_modules(networks: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Module, int]]:
    """Yield (name, module, axis of the units in an activation); a module that two networks share is the first one's.

    Units come last after a linear layer, `(B, T, C)`, and second after a convolution, `(B, C, T)`: the module that was defined before tells which.
    """
    seen: set[nn.Module] = set()
    for network, root in networks.items():
        axis = 1
        for name, module in root.named_modules():
            axis = 1 if isinstance(module, _CHANNELS_FIRST) else -1 if isinstance(module, _AFFINE) else axis
            if module not in seen:
                seen.add(module)
                yield f"{network}.{name}".rstrip("."), module, axis
