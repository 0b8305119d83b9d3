"""Q-learning on worlds whose values are known in closed form, and gymnasium's tables."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from components.data.sources.environment import can_be_asked, read_environment, value_iteration
from components.errors import UserError
from components.layers.transitions import Transitions
from components.metrics.policy import Policy, walked_returns
from components.models.reinforcement.q_table import QTable
from components.procedures.q_learning import QLearning, learn
from components.tasks.policy import Policy as PolicyTask

LAKE = {"environment": "FrozenLake-v1", "states": 16, "actions": ["left", "down", "right", "up"], "horizon": 100, "discount": 0.99}


def corridor(length: int = 5) -> np.ndarray:
    """States in a row; action 1 goes right, 0 left; the last step to the right pays 1 and ends."""
    table = np.zeros((length, 2, 1, 4))
    for s in range(length):
        table[s, 0, 0] = (1, max(0, s - 1), 0, 0)
        table[s, 1, 0] = (1, s + 1, 0, 0) if s < length - 1 else (1, s, 1, 1)
    return table


def test_value_iteration_in_closed_form():
    """V(s) = gamma^(steps left); a coin that pays 1 on heads and otherwise tries again: V = p / (1 - gamma (1 - p))."""
    found = value_iteration(corridor(), 0.9)
    np.testing.assert_allclose(found[:, 1], 0.9 ** np.arange(4, -1, -1), rtol=1e-12)
    np.testing.assert_allclose(found[:, 0], 0.9 * found.max(axis=1)[[0, 0, 1, 2, 3]], rtol=1e-12)
    coin = np.array([[[[0.25, 0, 1, 1], [0.75, 0, 0, 0]]]])
    assert value_iteration(coin, 0.5)[0, 0] == pytest.approx(0.25 / (1 - 0.375), rel=1e-12)


@pytest.fixture(scope="module")
def lake():
    return read_environment(Path(), options={"is_slippery": True}, **LAKE).splits["train"]


def test_frozen_lake_is_gymnasiums(lake):
    """The value of the start is the 0.54202593 of other implementations (gamma 0.99); 5 of 16 states end an episode."""
    assert lake["targets"][0].max() == pytest.approx(0.54202593, abs=1e-7)
    assert lake["judged"].sum() == 11
    outcomes = lake["outcomes"].reshape(16, 4, 3, 4)
    np.testing.assert_allclose(outcomes[..., 0].sum(axis=2), 1.0)
    assert sorted(outcomes[0, 1, :, 1]) == [0, 1, 4]  # down from the corner: stays, right, down
    assert (lake["position"][6] == (1, 2)).all() and lake["cell"].tolist().count(2) == 4


def test_taxi_is_gymnasiums_and_mistakes_are_told():
    names = ["south", "north", "east", "west", "pick up", "drop off"]
    data = read_environment(Path(), "Taxi-v4", 500, names, horizon=200, discount=0.99)
    taxi = data.splits["test"]
    assert taxi["judged"].sum() == 400 and len(data.columns["panel"].classes) == 20
    assert taxi["targets"].max() == 20.0  # the drop-off itself
    with pytest.raises(UserError, match="another size"):
        read_environment(Path(), "Taxi-v4", 499, names, horizon=200, discount=0.99)
    with pytest.raises(UserError, match="cannot make"):
        read_environment(Path(), "Taxi-v99", 500, names, horizon=200, discount=0.99)
    with pytest.raises(UserError, match="no table"):
        read_environment(Path(), "CartPole-v1", 500, names, horizon=200, discount=0.99)


def test_an_episode_is_not_in_a_state_after_its_end():
    table = corridor(3)
    table[1, 1, 0] = (1, 2, 0, 1)  # the episode ends before state 2
    assert can_be_asked(table, np.array([1.0, 0, 0])).tolist() == [True, True, False]


def test_transitions_are_drawn_with_their_probabilities(lake):
    world = Transitions(torch.from_numpy(lake["outcomes"]), torch.from_numpy(lake["start"]), 4)
    uniform = (torch.arange(3000, dtype=torch.float64) + 0.5) / 3000
    following, rewards, ended = world.step(torch.full((3000,), 14), torch.full((3000,), 2), uniform)  # right, one step before the goal
    assert torch.bincount(following).tolist() == [0] * 10 + [1000] + [0] * 3 + [1000, 1000]
    assert float(rewards.sum()) == 1000 and bool((ended == (following == 15)).all())
    assert world.begin(uniform).unique().tolist() == [0]
    two = Transitions(torch.zeros(3, 1, 4), torch.tensor([0.25, 0.0, 0.75]), 1)
    assert torch.bincount(two.begin(uniform)).tolist() == [750, 0, 2250]


def test_one_update_is_the_rule_and_many_visits_are_moves_one_after_another():
    """Q += alpha (r + gamma max Q' - Q), notes 004 M46."""
    values = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    assert float(learn(values, torch.tensor([1]), torch.tensor([4.0], dtype=torch.float64), 0.25)) == 2.0
    assert values.tolist() == [[1.0, 2.5]]
    once = torch.zeros(1, 1, dtype=torch.float64)
    learn(once, torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.float64), 0.25)
    assert float(once) == pytest.approx(1 - 0.75**3, rel=1e-12)


def learned(outcomes: np.ndarray, start: np.ndarray, actions: int, seed: int = 0, rank: int = 0, **options):
    """The table that the procedure fills in."""
    states = len(outcomes)
    batch = {"outcomes": torch.from_numpy(outcomes.reshape(states, -1, 4)), "start": torch.from_numpy(start)}
    columns = {"outcomes": None, "targets": SimpleNamespace(shape=(actions,))}
    training = SimpleNamespace(dataset=SimpleNamespace(card=SimpleNamespace(columns=columns)), rows=states, first=lambda rows: (batch, None))
    records: list[dict[str, float]] = []
    work = SimpleNamespace(
        model=QTable(states, ["a"] * actions), training=training, log=lambda **figures: records.append(figures),
        spec=SimpleNamespace(seed=seed), place=SimpleNamespace(session=SimpleNamespace(rank=rank, world=1)),
    )  # fmt: skip
    defaults = {"discount": 0.9, "walkers": 16, "steps": 400, "rate": [1.0, 1.0], "exploration": [1.0, 0.5]}
    QLearning(**{**defaults, **options}).fit(work)
    return work.model.values.detach(), records


def test_with_a_rate_of_one_and_no_chance_it_finds_bellmans_values():
    table = corridor()
    start = np.array([1.0, 0, 0, 0, 0])
    found, records = learned(table, start, 2)
    np.testing.assert_allclose(found, value_iteration(table, 0.9), rtol=1e-6)
    assert len(records) == 100 and records[-1]["loss"] == 0.0
    again, _ = learned(table, start, 2)
    assert torch.equal(found, again)
    early = [learned(table, np.ones(5), 2, seed=seed, steps=3, walkers=2, rate=[0.5, 0.5])[0] for seed in range(9)]
    assert any(not torch.equal(early[0], other) for other in early)
    assert not learned(table, start, 2, rank=1)[0].any()  # takes rank 0's


def test_in_a_world_of_chance_a_falling_rate_comes_to_rest():
    coin = np.array([[[[0.25, 0, 1, 1], [0.75, 0, 0, 0]]]])
    found, _ = learned(coin, np.ones(1), 1, discount=0.5, rate=[0.5, 1e-4], steps=1000)
    assert float(found) == pytest.approx(0.4, abs=0.03)  # about 1,300 outcomes count: three standard deviations


@pytest.mark.parametrize("options", [{"rate": [0.5]}, {"rate": [0.5, 0.0]}, {"exploration": [2.0, 0.1]}, {"steps": 1}, {"discount": 1.5}])
def test_options_out_of_range(options):
    with pytest.raises(UserError, match="out of range"):
        learned(corridor(), np.ones(5), 2, **options)


def judge(values: torch.Tensor, lake, worlds: int = 1) -> dict[str, float]:
    metrics = [Policy(16, horizon=100, episodes=4000, seed=0) for _ in range(worlds)]
    columns = {name: torch.from_numpy(lake[name]) for name in ("outcomes", "start", "targets", "judged")}
    for i, ids in enumerate(torch.arange(16).split(5)):
        batch = {**{name: column[ids] for name, column in columns.items()}, "sample_id": ids}
        metrics[i % worlds].update({"values": values[ids], "losses": torch.ones(len(ids))}, batch)
    return metrics[0].compute([metric.state() for metric in metrics])


def test_the_score_of_the_optimal_and_of_a_wrong_policy(lake):
    optimal = torch.from_numpy(lake["targets"])
    found = judge(optimal, lake)
    assert (found["agreement"], found["value_error"], found["samples"]) == (1.0, 0.0, 11)
    assert found["mean_return"] == found["optimal_return"]
    # the probability to be at the goal within 100 steps, by powers of the matrix of the policy
    outcomes, greedy = lake["outcomes"].reshape(16, 4, 3, 4), lake["targets"].argmax(axis=1)
    matrix = np.zeros((16, 16))
    for s in range(16):
        for p, n, _, _ in outcomes[s, greedy[s]]:
            matrix[s, int(n)] += p
    reached = np.linalg.matrix_power(matrix, 100)[0, 15]
    assert found["mean_return"] == pytest.approx(reached, abs=3 * np.sqrt(reached * (1 - reached) / 4000))
    assert judge(optimal, lake, worlds=5) == found
    wrong = judge(-optimal, lake)
    assert wrong["agreement"] < 0.5 and wrong["mean_return"] < 0.1
    ties = optimal.clone()
    ties[6] = torch.tensor([0.0, 0.0, 1.0, 0.0])  # left and right are equally good there (value iteration finds both)
    assert judge(ties, lake)["agreement"] == 1.0


def test_an_episode_pays_until_its_end_and_no_longer():
    world = Transitions(torch.from_numpy(corridor().reshape(5, -1, 4)), torch.tensor([1.0, 0, 0, 0, 0]), 2)
    right = torch.ones(5, dtype=torch.int64)
    assert walked_returns(world, right, 5, 3, 0).tolist() == [1.0] * 3
    assert walked_returns(world, right, 50, 3, 0).tolist() == [1.0] * 3
    assert walked_returns(world, right, 4, 3, 0).tolist() == [0.0] * 3  # cut before the goal


def test_the_bellman_error_of_the_optimal_values_is_zero(lake):
    card = SimpleNamespace(splits={"train": SimpleNamespace(rows=16)})
    task = PolicyTask(lambda a, b: 0.5 * (a - b).square(), card, discount=0.99, horizon=100)
    model = QTable(16, LAKE["actions"])
    batch = {name: torch.from_numpy(np.asarray(column)) for name, column in lake.items()}
    with torch.no_grad():
        start = task.losses({"model": model}, batch, None)["loss"]
        model.values.copy_(batch["targets"])
        end = task.losses({"model": model}, batch, None)["loss"]
    assert float(start) == pytest.approx(0.5 * float((lake["outcomes"][..., 0] * lake["outcomes"][..., 2]).reshape(16, 4, 3).sum(2).__pow__(2).sum()))
    assert float(end) < 1e-10
    assert task.gallery({"model": model}, batch, None)["policy_position"].shape == (16, 2)
