"""Batch normalisation over the batch of all workers.

Legend: B samples of this worker, C channels, N values of a channel over all workers.

torch's SyncBatchNorm refuses tensors on the CPU (2.13: "expected input tensor to be on GPU"), so there its place is taken by the layers below.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def synchronise(model: nn.Module) -> nn.Module:
    """Make every batch normalisation of a model take its statistics from all workers: W workers with parts of a batch are one with the whole.

    Names and values in the state dict stay as they are. Every worker must call every such layer equally often in training.

    Args:
        model: already on its device. On a GPU layers are replaced (so use what is returned), elsewhere they are changed in place.

    Returns:
        The model.
    """
    if any(parameter.is_cuda for parameter in model.parameters()):
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    for module in model.modules():
        # Only the way forward changes; parameters, buffers and hooks stay the same objects, as in torch's lazy modules (cls_to_become).
        module.__class__ = _SYNCHRONISED.get(type(module), type(module))
    return model


class _Synchronised(_BatchNorm):
    """Batch normalisation (Ioffe and Szegedy 2015, algorithm 1; notes 004 4:586) with the mean and variance of all workers' values.

    `y = gamma (x - mu) / sqrt(sigma^2 + eps) + beta`; sigma^2 is the biased variance of the batch, the running one is unbiased. An image's
    pixels are averaged too (erratum 002 E16). A worker may have fewer rows than another, or none.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, C, ...) -> (B, C, ...), of the inputs' type.

        Raises:
            ValueError: all workers together have fewer than two values a channel.
        """
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(inputs)
        self._check_input_dim(inputs)  # type: ignore[no-untyped-call]
        values = inputs if inputs.dtype == torch.float64 else inputs.float()
        count, mean, variance = _global_moments(values)
        if count < 2:  # the same on every worker, so all leave
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(inputs.shape)}")
        self._note(count, mean.detach(), variance.detach())
        scale = torch.rsqrt(variance + self.eps)
        out = (values - _per_channel(mean, values)) * _per_channel(scale if self.weight is None else scale * self.weight, values)
        return (out if self.bias is None else out + _per_channel(self.bias, values)).to(inputs.dtype)

    @torch.no_grad()
    def _note(self, count: int, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, by `momentum` or (None) as the average of all batches."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1.0 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), factor)
        self.running_var.lerp_((variance * (count / (count - 1))).to(self.running_var.dtype), factor)


class _Synchronised1d(_Synchronised, nn.BatchNorm1d):
    """`(B, C)` or `(B, C, L)`."""


class _Synchronised2d(_Synchronised, nn.BatchNorm2d):
    """`(B, C, H, W)`."""


class _Synchronised3d(_Synchronised, nn.BatchNorm3d):
    """`(B, C, D, H, W)`."""


_SYNCHRONISED: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: _Synchronised1d,
    nn.BatchNorm2d: _Synchronised2d,
    nn.BatchNorm3d: _Synchronised3d,
}


def _global_moments(values: Tensor) -> tuple[int, Tensor, Tensor]:
    """Return N, and the mean and biased variance `(C,)` of `(B, C, ...)` over all workers, with gradients to every worker's values.

    One exchange of N, sum and sum of squares. These are added in float64 and made from each worker's own mean and variance, so that the
    difference `E[x^2] - mu^2` loses nothing that float32 values had.
    """
    axes = [axis for axis in range(values.dim()) if axis != 1]
    own = values.numel() // values.shape[1]
    own_mean = values.sum(axes) / max(own, 1)  # of no rows: 0, where torch.mean would give NaN
    own_squares = (values - _per_channel(own_mean, values)).square().sum(axes).double() + own * own_mean.double().square()
    packed = torch.cat([own_mean.new_tensor([own], dtype=torch.float64), own * own_mean.double(), own_squares])
    total = _SumOverWorkers.apply(packed)  # type: ignore[no-untyped-call]
    count = int(total[0])
    mean, squares = (total[1:] / max(count, 1)).chunk(2)
    return count, mean.to(values.dtype), (squares - mean.square()).clamp_min(0.0).to(values.dtype)


def _per_channel(vector: Tensor, values: Tensor) -> Tensor:
    """`(C,)` -> `(1, C, 1, ...)`, as many axes as the values have."""
    return vector.reshape(1, -1, *[1] * (values.dim() - 2))


class _SumOverWorkers(torch.autograd.Function):
    """All-reduce. Every worker's loss depends on the sum, so the gradient of a part of it is the sum of all workers' gradients."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor) -> Tensor:
        """(*) -> (*), the sum over workers."""
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        """(*) -> (*), the sum over workers."""
        total = gradient.clone()
        dist.all_reduce(total)
        return total
