"""What is measured of a network's parameters: their gradients before the update, how far the update moved them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from components.training.watch.activations import exact
from components.training.watch.tape import Tape

_SAMPLED = 16_384  # values of a tensor


class Parameters:
    """The parameters of one network that could learn when the watch was made; what was frozen by then was meant to be.

    Args:
        network_name: first part of the layers' names.
        network: the bare one.
        tape: takes the measurements.
    """

    def __init__(self, network_name: str, network: nn.Module, tape: Tape) -> None:
        self._tape, self._network, self._network_name = tape, network, network_name
        self._learning = {name: p.shape for name, p in network.named_parameters(prefix=network_name) if p.requires_grad}
        self._before: dict[str, Tensor] = {}

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def before_update(self) -> None:
        """Measure the gradients, 0 where there is none, and copy a sample of the weights."""
        self._before = {}
        for name, parameter in self._named():
            local = _local(parameter)
            if local.numel() == 0:  # this rank has no piece of it
                continue
            gradient = None if parameter.grad is None else _local(parameter.grad)
            self._tape.write("gradient", name, local.new_zeros(()) if gradient is None else _rms(gradient), weight=local.numel())
            self._before[name] = _sample(local).clone()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def after_update(self) -> None:
        """Measure root mean squares of the update, of the weights before it and after it, and the largest weight; drop the copies."""
        named = dict(self._named())
        for name, before in self._before.items():
            whole = _local(named[name])
            after = _sample(whole)
            greatest = torch.stack(torch.aminmax(whole)).abs().max()
            numbers = [_rms(exact(after) - exact(before)), _rms(before), _rms(after), exact(greatest)]
            self._tape.write("weight" if self._is_weight(name) else "bias", name, torch.stack(numbers), weight=before.numel())
        self._before = {}

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def singular_values(self) -> None:
        """Measure the largest singular value s of each weight, as a matrix (outputs, rest), and its stable rank |W|^2 / s^2, from 1 to the rank."""
        for name, parameter in self._named():
            if self._is_weight(name) and not _is_shared_out(parameter):
                matrix = torch.nan_to_num(exact(parameter.detach())).flatten(1)  # the decomposition fails on a NaN
                values = torch.linalg.svdvals(matrix)
                rank = values.square().sum() / values[0].square().clamp_min(torch.finfo(values.dtype).tiny)
                self._tape.write("singular", name, torch.stack([values[0], rank]))

    def fresh_scales(self) -> dict[str, float]:
        """Return the root mean square that each weight would have after a good initialisation, 1 / sqrt(fan in) (notes 002 T17)."""
        return {name: (shape[0] / max(1, shape.numel())) ** 0.5 for name, shape in self._learning.items() if self._is_weight(name)}

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield the parameters under their names; asked for anew each time, because FSDP puts others in their place."""
        for name, parameter in self._network.named_parameters(prefix=self._network_name):
            if name in self._learning:
                yield name, parameter

    def _is_weight(self, name: str) -> bool:
        """Say whether a parameter is a weight, with two dimensions or more, and no bias or scale."""
        return len(self._learning[name]) >= 2


def _local(tensor: Tensor) -> Tensor:
    """This rank's piece of a tensor that FSDP has shared out, without asking the others."""
    plain = tensor.detach()
    local: Tensor = plain.to_local() if _is_shared_out(plain) else plain  # type: ignore[attr-defined]
    return local


def _sample(tensor: Tensor) -> Tensor:
    """Evenly spaced values, all of a small tensor: enough for a root mean square, and no second copy of a model in memory."""
    return tensor.reshape(-1)[:: -(-tensor.numel() // _SAMPLED)]


def _is_shared_out(tensor: Tensor) -> bool:
    """Say whether this is a DTensor, by its method: importing its class takes a second."""
    return hasattr(tensor, "to_local")


def _rms(tensor: Tensor) -> Tensor:
    """Return the root mean square, a scalar."""
    norm: Tensor = torch.linalg.vector_norm(exact(tensor)) / tensor.numel() ** 0.5
    return norm
