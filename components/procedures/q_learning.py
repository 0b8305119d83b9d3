"""Tabular Q-learning (Watkins 1989; notes 004 M46). S states, A actions, W walkers."""

from __future__ import annotations

import torch
from torch import Tensor

from components.errors import UserError
from components.layers.transitions import Transitions
from components.models.reinforcement.q_table import QTable
from components.training.procedure import Procedure, Work
from components.training.session import take_from_rank_0

_RECORDS = 100  # in the journal, over all steps


class QLearning(Procedure):
    """`Q(s, a) += alpha (r + gamma max_a' Q(s', a') - Q(s, a))` along epsilon-greedy walks.

    The notes' update line is lost (004, slide 265) and so is how to explore; alpha = 1 is their "Bellman assignment" (L722). W walkers go
    through episodes at once, each on its own; where n of them take the same action in the same state, it is moved by the mean of what they met,
    at the rate of n moves after one another, `1 - (1 - alpha)^n`. Epsilon and alpha fall geometrically from their first to their last value:
    a constant alpha never stops following its last few outcomes in a world of chance.

    What the walkers see of the world is what an agent sees: the outcomes of their own steps, drawn from the table of transitions that the data
    set holds. Rank 0 walks, the others take its table: a table of this size is not worth sharing out.

    Args:
        discount: gamma.
        walkers: W.
        steps: that each walker takes.
        rate: the first and the last alpha, each in (0, 1].
        exploration: the first and the last epsilon, each in (0, 1].

    Raises:
        UserError: a number out of range.
    """

    def __init__(self, discount: float, walkers: int, steps: int, rate: list[float], exploration: list[float]) -> None:
        for name, pair in (("rate", rate), ("exploration", exploration)):
            if len(pair) != 2 or not all(0 < value <= 1 for value in pair):
                raise UserError(f"procedure.{name} is out of range", received=pair, expected="[first, last], each above 0 and at most 1")
        if walkers < 1 or steps < 2 or not 0 <= discount <= 1:
            received = f"walkers={walkers}, steps={steps}, discount={discount}"
            raise UserError("procedure is out of range", received=received, expected="at least 1, at least 2, 0 to 1")
        self.discount, self.walkers, self.steps, self.rate, self.exploration = discount, walkers, steps, rate, exploration

    def fit(self, work: Work) -> None:
        """Fill the model's table.

        Raises:
            UserError: the model is no QTable, or the data are no world.
        """
        model, columns = work.model, work.training.dataset.card.columns
        if not isinstance(model, QTable):
            raise UserError("Q-learning fills a table", received=type(model).__name__, expected="QTable")
        if "outcomes" not in columns:
            raise UserError("the data set is no world to walk in", received=sorted(columns), mend="choose data=frozen_lake or data=taxi")
        if work.place.session.rank == 0:
            batch, _ = work.training.first(work.training.rows)
            world = Transitions(batch["outcomes"], batch["start"], columns["targets"].shape[0])
            with torch.no_grad():
                model.values.copy_(self._walk(world, work))
        take_from_rank_0(work.place.session, model.parameters())

    def _walk(self, world: Transitions, work: Work) -> Tensor:
        """Return the learned table, float64 `(S, A)`."""
        generator = torch.Generator().manual_seed(work.spec.seed)
        values = torch.zeros(world.states, world.actions, dtype=torch.float64)
        states = world.begin(torch.rand(self.walkers, dtype=torch.float64, generator=generator))
        surprise = rewarded = ended_episodes = 0.0
        every = max(1, self.steps // _RECORDS)
        for step in range(1, self.steps + 1):
            rate, epsilon = (first * (last / first) ** ((step - 1) / (self.steps - 1)) for first, last in (self.rate, self.exploration))
            draws = torch.rand(4, self.walkers, dtype=torch.float64, generator=generator)
            actions = torch.where(draws[0] < epsilon, (draws[1] * world.actions).long(), values[states].argmax(dim=1))
            following, rewards, ended = world.step(states, actions, draws[2])
            wanted = rewards + self.discount * ~ended * values[following].max(dim=1).values
            surprise += float(learn(values, states * world.actions + actions, wanted, rate))
            rewarded, ended_episodes = rewarded + float(rewards.sum()), ended_episodes + float(ended.sum())
            states = torch.where(ended, world.begin(draws[3]), following)
            if step % every == 0:
                episodes = max(1.0, ended_episodes)
                work.log(loss=surprise / every, learning_rate=rate, exploration=epsilon, reward_an_episode=rewarded / episodes)
                surprise = rewarded = ended_episodes = 0.0
        return values


def learn(values: Tensor, places: Tensor, wanted: Tensor, rate: float) -> Tensor:
    """Move a table `(S, A)`, in place, towards what was met: `s A + a` of each step `(W,)` int64, and its right side `(W,)`.

    Returns:
        The mean of |right side - Q| before.
    """
    flat = values.view(-1)
    surprise = (wanted - flat[places]).abs().mean()
    visits = torch.bincount(places, minlength=len(flat)).double()
    mean = torch.bincount(places, weights=wanted, minlength=len(flat)) / visits.clamp(min=1)
    flat += torch.where(visits > 0, (1 - (1 - rate) ** visits) * (mean - flat), 0.0)
    return surprise
