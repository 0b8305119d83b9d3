"""Losses of segmentation: the notes' figures, torch's own cross entropy, gradients by differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from components.losses.segmentation import Dice, GeneralizedDice, PixelCrossEntropy, Tversky, generalized_dice_loss, tversky_index

EVERY = [PixelCrossEntropy(), PixelCrossEntropy([0.5, 1.0, 4.0]), GeneralizedDice(), Tversky(0.7, 0.3), Dice()]


def case(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 5, generator=rng, dtype=dtype)
    targets = torch.randint(0, 4, (2, 4, 5), generator=rng)  # 3 is void
    return logits, targets, targets < 3


def test_generalized_dice_is_the_notes_figure():  # 004 T25
    found = torch.tensor([[[0.9, 0.8, 0.2, 0.1], [0.1, 0.2, 0.8, 0.9]]])
    true = torch.tensor([[[1.0, 1, 1, 0], [0, 0, 0, 1]]])
    torch.testing.assert_close(generalized_dice_loss(found, true), torch.tensor([0.375]))


def test_tversky_index_is_the_notes_figures():  # 004 T25: TP 8, FP 2, FN 4
    hits, missed, wrong = torch.tensor(8.0), torch.tensor(4.0), torch.tensor(2.0)
    expected = {(0.5, 0.5): 8 / 11, (0.7, 0.3): 0.7017544, (0.3, 0.7): 0.7547170}
    for (alpha, beta), value in expected.items():
        assert float(tversky_index(hits, missed, wrong, alpha, beta)) == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 4.0]])
def test_pixel_cross_entropy_is_torch_s_weighted_mean(weights):
    logits, targets, valid = case()
    loss = PixelCrossEntropy(weights)
    mine = loss(logits, targets, valid).sum() / loss.counts(targets, valid).sum()
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    torch.testing.assert_close(mine, F.cross_entropy(logits, targets, weight, ignore_index=3))


def test_dice_of_hard_predictions_is_that_of_counted_pixels():
    logits, targets, valid = case()
    labels = logits.argmax(1)
    sharp = F.one_hot(labels, 3).movedim(-1, 1) * 1000.0
    expected = []
    for b in range(2):
        a, t = labels[b][valid[b]], targets[b][valid[b]]
        expected.append(1 - sum(2 * ((a == k) & (t == k)).sum() / ((a == k).sum() + (t == k).sum()) for k in range(3)) / 3)
    torch.testing.assert_close(Dice(smooth=0.0)(sharp.double(), targets, valid), torch.stack(expected).double())


def test_dice_is_tversky_at_a_half_over_the_classes():
    logits, targets, valid = case()
    torch.testing.assert_close(Dice(smooth=2.0)(logits, targets, valid), Tversky(0.5, 0.5, smooth=1.0)(logits, targets, valid) / 3)


@pytest.mark.parametrize("loss", EVERY, ids=lambda loss: type(loss).__name__)
def test_gradients_are_those_of_differences(loss):
    logits, targets, valid = case()
    assert torch.autograd.gradcheck(lambda x: loss(x, targets, valid), logits.requires_grad_())


@pytest.mark.parametrize("loss", EVERY, ids=lambda loss: type(loss).__name__)
def test_a_pixel_that_is_not_valid_has_no_part(loss):
    logits, targets, valid = case()
    changed = torch.where(valid[:, None], logits, logits + torch.randn_like(logits) * 5)
    assert torch.equal(loss(changed, targets, valid), loss(logits, targets, valid))
    assert torch.equal(loss.counts(targets.masked_fill(~valid, 1), valid), loss.counts(targets, valid))
    nothing = torch.zeros_like(valid)
    assert loss(logits, targets, nothing).isfinite().all()


@pytest.mark.parametrize("loss", EVERY, ids=lambda loss: type(loss).__name__)
def test_a_sample_is_judged_alike_in_any_batch(loss):
    logits, targets, valid = case()
    apart = [loss(logits[b : b + 1], targets[b : b + 1], valid[b : b + 1]) for b in range(2)]
    torch.testing.assert_close(torch.cat(apart), loss(logits, targets, valid))
    assert loss.counts(targets, valid).shape == (2,)
    half = loss(logits.to(torch.bfloat16), targets, valid)
    assert half.dtype == torch.float32 and half.isfinite().all()


def test_a_perfect_prediction_costs_nothing_and_the_rare_class_weighs_most_in_generalized_dice():
    targets = torch.zeros(1, 10, 10, dtype=torch.int64)
    targets[0, 0, 0] = 1
    valid = torch.ones_like(targets, dtype=torch.bool)
    perfect = F.one_hot(targets, 2).movedim(-1, 1) * 50.0
    assert all(float(loss(perfect, targets, valid)) < 1e-3 for loss in (GeneralizedDice(), Dice(), Tversky()))
    missed = torch.zeros_like(perfect)
    missed[:, 0] = 50.0  # one pixel of a hundred is wrong: w = 1 / 99^2 and 1
    assert float(GeneralizedDice()(missed, targets, valid)) == pytest.approx(1 - 2 * (99 / 99**2) / (199 / 99**2 + 1))
