"""Scores of a greedy policy against the best one. S states, A actions, K outcomes of an action at most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from components.layers.transitions import Transitions
from components.metrics.base import Metric, State, gather_samples

TIE = 1e-9  # optimal values that differ by less are the same
_COLUMNS = ("outcomes", "start", "targets", "judged")


class Policy(Metric):
    """How often the greedy action is an optimal one, how far the values are off, and what the policy earns.

    Args:
        states: S; where an evaluation saw fewer, nothing can be walked, and `mean_return` is left out.
        horizon: steps after which an episode is cut.
        episodes: how many are walked.
        seed: of these walks.
    """

    def __init__(self, states: int, horizon: int, episodes: int, seed: int) -> None:
        self.states, self.horizon, self.episodes, self.seed = states, horizon, episodes, seed
        self._batches: list[State] = []

    def update(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Take one batch of states.

        Args:
            outputs: `values (B, A)`, Q as learned; `losses (B,)`.
            batch: `outcomes (B, A * K, 4)`, `start (B,)`, `targets (B, A)` (the optimal Q), `judged (B,)`, `sample_id` int64 `(B,)`: the state.
        """
        found = {"values": outputs["values"], "losses": outputs["losses"], **{name: batch[name] for name in _COLUMNS}}
        columns = {name: values.detach().cpu().double() for name, values in found.items()}
        self._batches.append({"sample_id": batch["sample_id"].detach().cpu().long(), **columns})

    def state(self) -> State:
        """Return this rank's states, each tensor `(n_rank, ...)`."""
        if self._batches:
            return {name: torch.cat([part[name] for part in self._batches]) for name in self._batches[0]}
        nothing = torch.empty(0)
        return {"sample_id": torch.empty(0, dtype=torch.int64), **dict.fromkeys(("values", "losses", *_COLUMNS), nothing)}

    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return the scores over all ranks' states; only those that an agent can be in count.

        Returns:
            Floats `agreement` (states whose greedy action has the best optimal value, to within 1e-9), `value_error` (the largest
            |max_a Q - V*|), `loss` (the mean of the losses), `mean_return` and `optimal_return` (sum of rewards an episode, not discounted,
            of the learned and of the optimal policy in walks with the same random numbers; what they end at is cut at the horizon); `samples`,
            the states that counted.

        Raises:
            AssertionError: no state to judge, or one seen twice.
        """
        found = gather_samples([state for state in states if len(state["sample_id"])])
        judged = found["judged"] > 0
        assert bool(judged.any()), "no state was evaluated"
        greedy, best = found["values"].argmax(dim=1), found["targets"].max(dim=1).values
        right = found["targets"].gather(1, greedy[:, None]).squeeze(1) >= best - TIE
        count = int(judged.sum())
        scores: dict[str, Any] = {
            "agreement": int(right[judged].sum()) / count,
            "value_error": float((found["values"].max(dim=1).values - best)[judged].abs().max()),
            "loss": math.fsum(found["losses"][judged].tolist()) / count,
        }
        if len(best) == self.states:
            world = Transitions(found["outcomes"], found["start"], found["targets"].shape[1])
            for name, policy in (("mean_return", greedy), ("optimal_return", found["targets"].argmax(dim=1))):
                returns = walked_returns(world, policy, self.horizon, self.episodes, self.seed)
                scores[name] = math.fsum(returns.tolist()) / self.episodes
        return {**scores, "samples": count}


def walked_returns(world: Transitions, policy: Tensor, horizon: int, episodes: int, seed: int) -> Tensor:
    """Walk episodes with a policy `(S,)` int64; return the sum of the rewards of each, `(episodes,)` float64."""
    generator = torch.Generator().manual_seed(seed)
    states = world.begin(torch.rand(episodes, dtype=torch.float64, generator=generator))
    returns, going = torch.zeros(episodes, dtype=torch.float64), torch.ones(episodes, dtype=torch.bool)
    for _ in range(horizon):
        states, rewards, ended = world.step(states, policy[states], torch.rand(episodes, dtype=torch.float64, generator=generator))
        returns += rewards * going
        going = going & ~ended
        if not going.any():
            break
    return returns
