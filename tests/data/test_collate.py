"""Ragged rows side by side."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from components.data.collate import Pad, pad
from components.data.draws import Draws


def ragged(lengths, *shape):
    rows = [torch.randn(length, *shape) for length in lengths]
    return rows, torch.cat(rows), torch.tensor([0, *lengths]).cumsum(0)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_it_pads_as_torch_does(shape):
    rows, values, offsets = ragged([3, 0, 5, 1], *shape)
    padded, mask = pad(values, offsets, value=-7.0)
    assert torch.equal(padded, pad_sequence(rows, batch_first=True, padding_value=-7.0))
    assert mask.sum(1).tolist() == [3, 0, 5, 1]


def test_a_fixed_length_cuts_and_fills():
    rows, values, offsets = ragged([3, 6])
    padded, mask = pad(values, offsets, length=4)
    assert torch.equal(padded[0], torch.cat([rows[0], torch.zeros(1)])) and torch.equal(padded[1], rows[1][:4])
    assert mask.tolist() == [[True, True, True, False], [True] * 4]


def test_as_a_transform_it_replaces_the_column_and_keeps_the_rest():
    _, values, offsets = ragged([2, 1])
    batch = {"tokens": values, "tokens.offsets": offsets, "targets": torch.tensor([0, 1]), "sample_id": torch.arange(2)}
    out = Pad("tokens")(batch, Draws(0, 0, batch["sample_id"]))
    assert out.keys() == {"tokens", "tokens.mask", "targets", "sample_id"} and out["tokens"].shape == (2, 2)
    assert batch.keys() == {"tokens", "tokens.offsets", "targets", "sample_id"}
