"""A number that is not finite: what is said, by whom, and that the step can be run again from what is left behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from components.errors import RunError
from components.training.nonfinite import read_replay
from tests.training import systems
from tests.training.systems import train
from tests.training.test_loop import by_hand


@pytest.mark.parametrize("world", [1, 2])
def test_the_message_names_parts_rank_layer_rates_samples_and_the_replay(group, plain, data, tmp_path, world):
    """`bad_sample` divides by zero in its second layer for one training row, which is met in the first epoch."""
    spec = plain("trainer.accumulate=2", "watch.every_steps=0", "schedule=constant")
    with pytest.raises(RunError) as caught:
        group.run(world, train, spec, data, tmp_path, systems.bad_sample)
    text = str(caught.value)
    order = systems.order_of(data, spec, epoch=0)
    place = order.index(systems.BAD_ROW)
    step, part = divmod(place, 8)
    rank = part % world
    assert f"a number is not finite in step {step} on rank {rank}" in text
    assert re.search(r"loss: loss nan", text) and "first bad layer: 2 (Poison)" in text and "learning rates: main 0.05" in text
    assert "trainer.clip_norm=1" in text
    mine = order[8 * step : 8 * step + 8][rank + world * ((part // world) % 2) :: world * 2]
    assert f"samples: {', '.join(map(str, mine))}\n" in text

    replay = read_replay(Path(re.search(r"run again: (\S+)", text)[1]))
    assert replay["batch"]["sample_id"].tolist() == mine and replay["context"]["step"] == step
    model = systems.bad_model()
    model.load_state_dict(replay["states"]["model"])
    loss = nn.functional.cross_entropy(model(replay["batch"]["inputs"]), replay["batch"]["targets"])
    assert loss.isnan()
    if step:
        expected, _, _ = by_hand(data, lambda p: torch.optim.SGD(p, lr=0.0), epochs=1, batch_size=8)
        assert replay["states"]["model"].keys() != expected.state_dict().keys()
        assert all(v.isfinite().all() for v in replay["states"]["model"].values())
