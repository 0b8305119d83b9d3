"""Several networks of one kind that answer together (notes 002 M70, 004 M48; Lakshminarayanan et al. 2017, "deep ensembles").

Dimensions: B batch, E members, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from components.errors import UserError
from components.spec.schema import Target
from components.spec.targets import build


class Ensemble(nn.Module):
    """E networks side by side, each with weights of its own.

    Args:
        member: what to build, as in a configuration: `{_target_: ..., ...}`.
        count: E.

    Raises:
        UserError: no `_target_`, fewer than two members, or a member that refuses its options.
    """

    missed: Tensor

    def __init__(self, member: Mapping[str, Any], count: int) -> None:
        super().__init__()
        if count < 2:
            raise UserError("an ensemble needs several members", received=f"model.count={count}", expected="at least 2")
        target = member_target(member)
        self.members = nn.ModuleList(build(target) for _ in range(count))
        # (E,), the part of the training rows that each member never saw: 0, or about 0.368 where they were drawn with replacement
        self.register_buffer("missed", torch.zeros(count))

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, ...) -> log-probabilities (B, E, K), float32 at least."""
        logits = torch.stack([member(inputs) for member in self.members], dim=1)
        return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(dim=2)


def member_target(member: Mapping[str, Any]) -> Target:
    """Return one member's configuration as a target.

    Raises:
        UserError: it names none.
    """
    if not isinstance(member.get("_target_"), str):
        raise UserError("model.member names no `_target_`", received=dict(member), expected="such as {_target_: components.models.cnn.lenet5.LeNet5}")
    return Target(member["_target_"], {name: value for name, value in member.items() if name != "_target_"})
