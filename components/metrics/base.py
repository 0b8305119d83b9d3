"""The face of every metric, and the gathering of per-sample values that makes it exact on any number of workers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

State = dict[str, Tensor]

_SHOWN_IDS = 5


class Metric(ABC):
    """An accumulator over the batches that one rank saw.

    Exact means: equal to the bit however whole batches were dealt to ranks. So what leaves `state` is integers, or float64 values of
    single samples beside their `sample_id`; sums of floats are made in `compute` alone, where all ranks' samples are at hand.
    """

    @abstractmethod
    def update(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Take one batch: what the task predicted for it, and the batch itself (with `sample_id`, int64 `(B,)`)."""

    @abstractmethod
    def state(self) -> State:
        """Return what the ranks exchange: CPU tensors; every one is there, with length 0, on a rank that saw no batch."""

    @abstractmethod
    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return plain data (floats, integers, strings, nested lists and dicts) from the states of all ranks, in rank order."""


def gather_samples(states: Sequence[State]) -> State:
    """Join the ranks' per-sample tensors and order them by sample.

    Args:
        states: one dict a rank, the same keys in each; every tensor is `(n_rank, ...)` and `sample_id` is int64 `(n_rank,)`.

    Returns:
        The same keys, each `(n, ...)` with n the sum over ranks, in ascending order of `sample_id`.

    Raises:
        AssertionError: a sample was counted twice, which is a fault in how batches were dealt.
    """
    joined = {name: torch.cat([state[name] for state in states]) for name in states[0]}
    sample_id, order = torch.sort(joined["sample_id"], stable=True)
    twice = torch.unique(sample_id[1:][sample_id[1:] == sample_id[:-1]])
    if len(twice):
        raise AssertionError(f"{len(twice)} samples were evaluated more than once: sample_id {_some(twice)}")
    return {name: values[order] for name, values in joined.items()}


def assert_all_samples(states: Sequence[State], expected: Tensor) -> None:
    """Check that the ranks together saw each expected sample once. The evaluator calls it: it alone knows what it dealt.

    Args:
        states: one dict a rank with `sample_id`, int64 `(n_rank,)`.
        expected: the ids that were to be evaluated, int64 `(n,)`, unique (for a whole split `torch.arange(rows)`).

    Raises:
        AssertionError: samples are missing, unknown or seen twice; the first few ids are named.
    """
    seen = gather_samples([{"sample_id": state["sample_id"]} for state in states])["sample_id"]
    missing = expected[~torch.isin(expected, seen)]
    unknown = seen[~torch.isin(seen, expected)]
    if len(missing):
        raise AssertionError(f"{len(missing)} of {len(expected)} samples were not evaluated: sample_id {_some(missing)}")
    if len(unknown):
        raise AssertionError(f"{len(unknown)} samples were evaluated that nobody asked for: sample_id {_some(unknown)}")


def _some(ids: Tensor) -> str:
    shown = ", ".join(str(int(i)) for i in ids[:_SHOWN_IDS])
    return shown if len(ids) <= _SHOWN_IDS else f"{shown}, ..."
