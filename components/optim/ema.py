"""The exponential moving average of a model's weights, kept beside it, evaluated with and saved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from components.errors import UserError, nearest


class Ema:
    """`average <- decay * average + (1 - decay) * weight` after each step, from the weights at construction on (Polyak & Juditsky 1992).

    Floating-point buffers (a BatchNorm's running statistics) are averaged as the weights are, others (its count of batches) copied.
    An average has its weight's dtype and device, and is sharded as it is.

    Make it when the model has its weights; when a training is resumed, `load` what `state` gave.

    Args:
        model: bare, not wrapped in DDP, so that the names are plain.
        decay: from 0 (a copy of the weights) to 1 (never moves).

    Raises:
        ValueError: `decay` is out of range.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._mix = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        own = model.state_dict(keep_vars=True)  # the tensors themselves, so that tied ones are known by their identity
        copies: dict[int, Tensor] = {}
        self._unique: list[str] = []  # the first name of each tensor
        for name, tensor in own.items():
            if id(tensor) not in copies:
                copies[id(tensor)] = tensor.detach().clone()
                self._unique.append(name)
        self._averages = {name: copies[id(tensor)] for name, tensor in own.items()}
        floating = [name for name in self._unique if own[name].is_floating_point() or own[name].is_complex()]
        self._weights = [name for name in floating if isinstance(own[name], nn.Parameter)]
        # Apart from the weights, because FSDP shards those alone and one call cannot hold both kinds.
        self._buffers = [name for name in floating if not isinstance(own[name], nn.Parameter)]
        self._copied = [name for name in self._unique if name not in set(floating)]
        self._inside = False

    def update(self, model: nn.Module) -> None:
        """Take the model's weights into the average: one call for all parameters."""
        assert not self._inside, "within `swapped` the model has the averages: they would be averaged with themselves"
        live = model.state_dict(keep_vars=True)
        for names in (self._weights, self._buffers):
            if names:
                self._mix([self._averages[name] for name in names], [live[name] for name in names], None)
        _copy((self._averages[name] for name in self._copied), (live[name] for name in self._copied))

    def state(self) -> dict[str, Tensor]:
        """Return the averages under the keys of `model.state_dict()`; like that method's, they are no copies."""
        return dict(self._averages)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take the averages that `state` gave, whatever the model's weights are now.

        Raises:
            UserError: a name is missing, unknown, or has another shape; nothing was loaded.
        """
        for name in [*self._averages, *state]:
            own, given = self._averages.get(name), state.get(name)
            if own is None or given is None or own.shape != given.shape:
                raise UserError(
                    f"the averaged weights do not fit the model: '{name}'{nearest(name, self._averages) if own is None else ''}",
                    received="nothing" if given is None else f"shape {tuple(given.shape)}",
                    expected="no such name" if own is None else f"shape {tuple(own.shape)}",
                )
        _copy(self._averages.values(), (state[name] for name in self._averages))

    @contextlib.contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """A context within which the model has the averages, and after which it has its own weights and buffers again, to the bit.

        Values are copied into the tensors that are there, so optimizers and DDP keep what they refer to.
        """
        assert not self._inside, "the model has the averages already"
        own = model.state_dict(keep_vars=True)
        live = [own[name] for name in self._unique]
        raw = [tensor.detach().clone() for tensor in live]
        self._inside = True
        try:
            _copy(live, (self._averages[name] for name in self._unique))
            yield
        finally:
            _copy(live, raw)
            self._inside = False


@torch.no_grad()
def _copy(into: Iterable[Tensor], values: Iterable[Tensor]) -> None:
    for tensor, value in zip(into, values, strict=True):
        tensor.copy_(value)
