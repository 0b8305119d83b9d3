"""State goes round to the bit, whatever nests in it, and nothing but data goes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from components.training.generators import generator_states, restore_generators
from components.training.plain_state import load_state, save_state


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_what_nests_goes_round(tmp_path):
    state = {
        "numbers": [0, -1, 2**63, 0.1, 1e-308, math.inf, -math.inf, True, None, "text \u00e9"],
        "tuple": (1, (2.5, [torch.tensor(3)])),
        "by number": {0: {"step": torch.tensor(4.0), "exp_avg": torch.randn(3, 2)}, 10: {}},
        "$tensor": {"$items": [], "": {}},
        "kinds": [torch.zeros(2, dtype=d) for d in (torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)],
        "empty": [torch.empty(0, 3), {}, [], ()],
    }
    save_state(tmp_path, state)
    assert same(load_state(tmp_path), state)


def test_tensors_that_share_memory_and_views_are_copied(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    save_state(tmp_path, {"whole": whole, "again": whole, "column": whole[:, 1], "turned": whole.t()})
    found = load_state(tmp_path)
    assert torch.equal(found["column"], torch.tensor([1.0, 5.0, 9.0])) and torch.equal(found["turned"], whole.t())


def test_a_real_optimizer_s_state_goes_round(tmp_path):
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW([{"params": [layer.weight], "rate_factor": 0.5}, {"params": [layer.bias], "weight_decay": 0.0}])
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    save_state(tmp_path, optimizer.state_dict())
    assert same(load_state(tmp_path), optimizer.state_dict())


def test_generators_go_on_where_they_were(tmp_path):
    import random

    save_state(tmp_path, generator_states(torch.device("cpu")))
    expected = (random.random(), np.random.rand(), torch.rand(1))
    restore_generators(load_state(tmp_path), torch.device("cpu"))
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected


@pytest.mark.parametrize("thing", [object(), {1, 2}, b"bytes", np.float64(1.0), torch.device("cpu"), lambda: None])
def test_anything_else_is_refused_with_its_place(tmp_path, thing):
    with pytest.raises(TypeError, match=r"state\.a\.1 is a "):
        save_state(tmp_path, {"a": [0, thing]})
