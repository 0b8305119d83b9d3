"""A gymnasium environment with a table of transitions as a data set of its states (notes 004 M47).

Legend: S states, A actions, K outcomes of an action at most.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.data.card import Column
from components.data.columns import Columns, SourceData
from components.errors import UserError

Values = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
SPLITS = ("train", "validation", "test")
_CONVERGED = 1e-13
_MOST_SWEEPS = 1_000_000
_LETTERS = {"S": "start", "F": "frozen", "H": "hole", "G": "goal"}
_PLACES = ("red", "green", "yellow", "blue")


def read_environment(
    raw: Path, environment: str, states: int, actions: list[str], horizon: int, discount: float, options: dict[str, Any] | None = None
) -> SourceData:
    """List the states of an environment, with what its actions lead to and the values that value iteration finds.

    The three splits are the same: all states. An agent is judged where it learned, by how near it comes to the best policy there.

    Args:
        raw: not read.
        environment: gymnasium's name, such as FrozenLake-v1, of an environment with a table `P` of transitions.
        states: S, as the environment must have it.
        actions: the A names of the actions, for the report.
        horizon: steps after which gymnasium cuts an episode.
        discount: gamma of the values.
        options: of the environment, such as {is_slippery: true}.

    Returns:
        A row a state, in order. `inputs` int64 `()`: its number; `outcomes` float64 `(A * K, 4)`: (probability, next state, reward, ended),
        K rows an action, those that do not occur with probability 0; `start` float64 `()`: the probability to begin there; `targets` float64
        `(A,)`: the optimal Q(s, a); `judged` (no, yes): the agent can be asked for an action there; `position` int64 `(2,)`: row and column on
        the map; `panel`, `cell`: which map the state is drawn on, and what is there.

    Raises:
        UserError: gymnasium is not installed or has no such environment, it has no table, or another size than stated.
    """
    world = _make(environment, options or {}, states, len(actions), horizon)
    outcomes, start = transition_table(world)
    optimal = value_iteration(outcomes, discount)
    position, panel, cell, names = _map(world, environment)
    split: Columns = {
        "inputs": np.arange(states),
        "outcomes": outcomes.reshape(states, -1, 4),
        "start": start,
        "targets": optimal,
        "judged": can_be_asked(outcomes, start).astype(np.int64),
        "position": position,
        "panel": panel,
        "cell": cell,
    }
    columns = {
        "inputs": Column("int64"),
        "outcomes": Column("float64", (outcomes.shape[1] * outcomes.shape[2], 4)),
        "start": Column("float64"),
        "targets": Column("float64", (len(actions),)),
        "judged": Column("int64", classes=("no", "yes")),
        "position": Column("int64", (2,)),
        "panel": Column("int64", classes=names[0]),
        "cell": Column("int64", classes=names[1]),
    }
    return SourceData(columns, dict.fromkeys(SPLITS, split))


def _make(name: str, options: dict[str, Any], states: int, actions: int, horizon: int) -> Any:
    try:
        import gymnasium
    except ImportError as error:
        raise UserError("the package 'gymnasium' that has the environments is not installed", mend="pip install gymnasium") from error
    try:
        made = gymnasium.make(name, **options)
    except (gymnasium.error.Error, TypeError) as error:
        raise UserError(f"gymnasium cannot make the environment: {error}", received=f"{name} {options}") from error
    world = made.unwrapped
    if not hasattr(world, "P"):
        raise UserError("the environment has no table of transitions", received=name, expected="one of gymnasium's toy texts, such as FrozenLake-v1")
    assert made.spec is not None
    found = (int(world.observation_space.n), int(world.action_space.n), made.spec.max_episode_steps)  # type: ignore[attr-defined]
    if found != (states, actions, horizon):
        raise UserError(f"{name} has another size", received=f"states, actions, horizon = {(states, actions, horizon)}", expected=found)
    return world


def transition_table(world: Any) -> tuple[Values, Values]:
    """Return outcomes `(S, A, K, 4)`, the last axis (probability, next state, reward, ended), and the probabilities `(S,)` to start in a state."""
    table = world.P
    most = max(len(outcomes) for actions in table.values() for outcomes in actions.values())
    found = np.zeros((len(table), len(table[0]), most, 4))
    for state, actions in table.items():
        for action, outcomes in actions.items():
            found[state, action, : len(outcomes)] = outcomes
    return found, np.asarray(world.initial_state_distrib, dtype=np.float64)


def value_iteration(outcomes: Values, discount: float) -> Values:
    """Return the optimal Q, `(S, A, K, 4) -> (S, A)`: `Q(s, a) = E[r + gamma max_a' Q(s', a')]` (Bellman 1957).

    It is iterated until it moves by less than 1e-13 of its size.

    Raises:
        UserError: it does not converge (a discount of 1 with a loop that pays).
    """
    probability, following, reward, going_on = _parts(outcomes)
    values = np.zeros(outcomes.shape[:2])
    for _ in range(_MOST_SWEEPS):
        swept: Values = (probability * (reward + discount * going_on * values.max(axis=1)[following])).sum(axis=2)
        moved, values = np.abs(swept - values).max(), swept
        if moved < _CONVERGED * max(1.0, np.abs(values).max()):
            return values
    raise UserError("value iteration does not converge", received=f"discount={discount}", expected="a discount below 1")


def can_be_asked(outcomes: Values, start: Values) -> npt.NDArray[np.bool_]:
    """Return which states an episode can be in before it has ended: `(S, A, K, 4), (S,) -> (S,)`."""
    probability, following, _, going_on = _parts(outcomes)
    reached = start > 0
    while True:
        further = reached.copy()
        further[following[reached][(probability[reached] > 0) & (going_on[reached] > 0)]] = True
        if (further == reached).all():
            return reached
        reached = further


def _parts(outcomes: Values) -> tuple[Values, Indices, Values, Values]:
    """Return probability, next state, reward, and whether the episode goes on, `(S, A, K)` each."""
    probability, following, reward, ended = np.moveaxis(outcomes, -1, 0)
    return probability, following.astype(np.int64), reward, 1.0 - ended


def _map(world: Any, name: str) -> tuple[Indices, Indices, Indices, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return of each state its position `(S, 2)`, panel and cell `(S,)`, and the names of panels and cells."""
    numbers = np.arange(len(world.P))
    if hasattr(world, "locs"):
        return _taxi_map(world, numbers)
    if hasattr(world, "desc"):  # FrozenLake: one state a letter
        letters, width = np.char.decode(world.desc).ravel(), world.desc.shape[1]
        cell = np.array([list(_LETTERS).index(letter) for letter in letters])
    else:
        width, cell = getattr(world, "shape", (1, len(numbers)))[1], np.zeros_like(numbers)
    names = tuple(_LETTERS.values()) if cell.any() else ("state",)
    return np.stack([numbers // width, numbers % width], axis=1), np.zeros_like(numbers), cell, ((name,), names)


def _taxi_map(world: Any, numbers: Indices) -> tuple[Indices, Indices, Indices, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The taxi's place, on a map of its own for each place of the passenger and destination."""
    parts = np.array([list(world.decode(int(state))) for state in numbers])
    riders = [*(f"passenger at {place}" for place in _PLACES), "passenger in the taxi"]
    cell = np.zeros_like(numbers)
    for number, place in enumerate(world.locs, start=1):
        cell[(parts[:, :2] == place).all(axis=1)] = number
    panels = tuple(f"{rider}, to {place}" for rider in riders for place in _PLACES)
    return parts[:, :2], parts[:, 2] * len(_PLACES) + parts[:, 3], cell, (panels, ("road", *_PLACES))
