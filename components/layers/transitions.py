"""A world given as a table of transitions, in which any number of agents walk at once. S states, A actions, K outcomes an action, W walkers."""

from __future__ import annotations

import torch
from torch import Tensor


class Transitions:
    """The table, ready to be drawn from. On the CPU, in float64.

    Args:
        outcomes: `(S, A * K, 4)`: probability, next state, reward, ended (0 or 1); K rows an action, in order.
        start: `(S,)`, the probabilities to begin in a state.
        actions: A.
    """

    def __init__(self, outcomes: Tensor, start: Tensor, actions: int) -> None:
        table = outcomes.cpu().double().reshape(len(outcomes), actions, -1, 4)
        probability, following, reward, ended = table.unbind(dim=3)
        self.following, self.reward, self.ended = following.long(), reward, ended > 0
        self.states, self.actions = len(table), actions
        self._cumulative, self._start = probability.cumsum(dim=2), start.cpu().double().cumsum(dim=0)

    def begin(self, uniform: Tensor) -> Tensor:
        """Draw states to begin in: uniform in [0, 1) `(W,)` float64 -> `(W,)` int64."""
        return torch.searchsorted(self._start, uniform * self._start[-1], right=True)

    def step(self, states: Tensor, actions: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Take a step each: `(W,)` int64, `(W,)` int64, `(W,)` float64 -> next states, rewards, whether the episode ended, `(W,)` each."""
        cumulative = self._cumulative[states, actions]
        drawn = (uniform[:, None] * cumulative[:, -1:] >= cumulative[:, :-1]).sum(dim=1)
        chosen = states, actions, drawn
        return self.following[chosen], self.reward[chosen], self.ended[chosen]
