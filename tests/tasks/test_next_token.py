"""Next-token prediction against torch's cross entropy, the loss by hand, and a carried state against one long row."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from components.data.card import Card, Column
from components.data.draws import Draws
from components.errors import UserError
from components.losses.classification import CrossEntropy
from components.models.language.gpt import GPT
from components.models.language.lstm import LSTM
from components.tasks.base import StepContext
from components.tasks.next_token import SAMPLED_TOKENS, SAMPLINGS, NextToken

VOCABULARY = ("a", "b", "c", "d", "e")
ROWS, LENGTH = 4, 6


def card(columns: dict[str, Column]) -> Card:
    return Card("text", "Text", "none", "none", {}, columns, {}, {})


CARD = card({"tokens": Column("uint8", (LENGTH + 1,), classes=VOCABULARY)})


@pytest.fixture
def batch() -> dict[str, Tensor]:
    tokens = torch.randint(5, (ROWS, LENGTH + 1), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    return {"tokens": tokens, "sample_id": torch.arange(ROWS)}


def context(task: NextToken) -> StepContext:
    return StepContext(task.phases[0], Draws(0, 0, torch.arange(ROWS)), step=0, epoch=0)


def lstm() -> nn.Module:
    torch.manual_seed(0)
    return LSTM(5, embedding_dim=3, hidden_dim=4, layers=2).double()


def gpt() -> nn.Module:
    torch.manual_seed(0)
    return GPT(5, LENGTH, layers=1, heads=2, hidden_dim=4)


class Always(nn.Module):
    """The token after n is n + 1 with probability 3/4 and any other one with 1/16."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.where(nn.functional.one_hot((inputs + 1) % 5, 5) == 1, 0.75, 0.0625).log()


def test_a_loss_by_hand():
    """Row 0 follows the rule at both places, row 1 at one: nats -ln 3/4 and -ln 1/16."""
    task, batch = NextToken(CrossEntropy(), CARD), {"tokens": torch.tensor([[3, 4, 0], [1, 2, 2]]), "sample_id": torch.arange(2)}
    right, wrong = -math.log(0.75), -math.log(0.0625)
    assert task.counts(batch, context(task)) == {"loss": 4.0}  # tokens that are targets, not rows, nor all tokens
    assert task.losses({"model": Always()}, batch, context(task))["loss"].item() == pytest.approx(3 * right + wrong)
    found = task.predict({"model": Always()}, batch)
    assert found["losses"].tolist() == pytest.approx([right, (right + wrong) / 2])
    assert found["predictions"].tolist() == [[4, 0], [2, 3]]
    metric = task.metrics()
    metric.update(found, batch)
    scores = metric.compute([metric.state()])
    assert scores["accuracy"] == 0.75
    assert scores["nats_per_token"] == pytest.approx((3 * right + wrong) / 4)
    shown = task.samples(batch, found)
    assert shown["targets"].tolist() == [[4, 0], [2, 2]]
    assert {k: tuple(v.shape) for k, v in shown.items()} == {
        "sample_id": (2,), "losses": (2,), "nats": (2, 2), "targets": (2, 2), "predictions": (2, 2),
    }  # fmt: skip


@pytest.mark.parametrize("make", [lstm, gpt])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int64])
def test_the_mean_loss_is_torch_s(batch, make, dtype):
    task, model, tokens = NextToken(CrossEntropy(), CARD), make(), batch["tokens"].long()
    batch["tokens"] = batch["tokens"].to(dtype)
    found = task.losses({"model": model}, batch, context(task))["loss"] / task.counts(batch, context(task))["loss"]
    logits = model(tokens[:, :-1])
    logits = logits[0] if isinstance(logits, tuple) else logits
    torch.testing.assert_close(found, nn.functional.cross_entropy(logits.reshape(-1, 5), tokens[:, 1:].reshape(-1)))
    rows = task.predict({"model": model}, batch)["losses"]
    torch.testing.assert_close(rows.mean(), found)  # rows of one length


def test_the_denominator_makes_halves_add_up_to_the_whole(batch):
    task, model = NextToken(CrossEntropy(label_smoothing=0.1), CARD), gpt()
    whole = task.losses({"model": model}, batch, context(task))["loss"]
    parts = [{k: v[i : i + 2] for k, v in batch.items()} for i in (0, 2)]
    torch.testing.assert_close(sum(task.losses({"model": model}, part, context(task))["loss"] for part in parts), whole)
    assert sum(task.counts(part, context(task))["loss"] for part in parts) == task.counts(batch, context(task))["loss"]


def test_perplexity_is_of_the_probabilities_not_of_smoothed_targets(batch):
    plain, smoothed = (NextToken(CrossEntropy(s), CARD) for s in (0.0, 0.5))
    networks = {"model": gpt()}
    assert not torch.isclose(plain.losses(networks, batch, context(plain))["loss"], smoothed.losses(networks, batch, context(plain))["loss"])
    assert torch.equal(plain.predict(networks, batch)["losses"], smoothed.predict(networks, batch)["losses"])


def test_three_steps_with_a_carried_state_are_one_long_row():
    """The input of a step's first place is the target of the last step's last one, so a stream loses nothing where it is cut."""
    stream = torch.randint(5, (ROWS, 3 * LENGTH + 1), generator=torch.Generator().manual_seed(3))
    task, model = NextToken(CrossEntropy(), CARD, carried=True), lstm()
    step = context(task)
    pieces = [{"tokens": stream[:, i : i + LENGTH + 1]} for i in range(0, 3 * LENGTH, LENGTH)]
    found = sum(task.losses({"model": model}, piece, step)["loss"] for piece in pieces)
    whole = task.losses({"model": model}, {"tokens": stream}, context(task))["loss"]
    torch.testing.assert_close(found, whole)
    torch.testing.assert_close(step.carry, {k: v.detach() for k, v in model(stream[:, :-1])[1].items()})


def test_the_carried_state_has_rows_and_no_gradient(batch):
    task, model = NextToken(CrossEntropy(), CARD, carried=True), lstm()
    step = context(task)
    task.losses({"model": model}, batch, step)
    assert {k: v.shape for k, v in step.carry.items()} == {"hidden": (ROWS, 2, 4), "cell": (ROWS, 2, 4)}
    assert not any(v.requires_grad for v in step.carry.values())
    first = step.carry["hidden"].clone()
    task.losses({"model": model}, batch, step)["loss"].backward()  # a graph of this step alone: the last one's is not needed
    assert not torch.equal(step.carry["hidden"], first)


def test_a_short_last_batch_goes_on_with_the_first_rows(batch):
    task, model = NextToken(CrossEntropy(), CARD, carried=True), lstm()
    step = context(task)
    task.losses({"model": model}, batch, step)
    before = {k: v[:3].clone() for k, v in step.carry.items()}
    short = {k: v[:3] for k, v in batch.items()}
    found = task.losses({"model": model}, short, step)["loss"]
    logits, after = model(short["tokens"][:, :-1].long(), before)
    torch.testing.assert_close(found, nn.functional.cross_entropy(logits.flatten(0, 1), short["tokens"][:, 1:].long().flatten(), reduction="sum"))
    torch.testing.assert_close(step.carry, {k: v.detach() for k, v in after.items()})


def test_what_is_not_carried_leaves_nothing_behind(batch):
    task, model = NextToken(CrossEntropy(), CARD), lstm()
    step = context(task)
    first, second = (task.losses({"model": model}, batch, step)["loss"] for _ in range(2))
    assert step.carry == {} and torch.equal(first, second)


def test_prediction_starts_every_row_from_zero(batch):
    task, model = NextToken(CrossEntropy(), CARD, carried=True), lstm()
    before = task.predict({"model": model}, batch)
    task.losses({"model": model}, batch, context(task))
    after = task.predict({"model": model}, {k: v.flip(0) for k, v in batch.items()})
    torch.testing.assert_close(after["losses"].flip(0), before["losses"])


def test_a_carried_state_survives_autocast(batch):
    task, model = NextToken(CrossEntropy(), CARD, carried=True), lstm().float()
    step = context(task)
    with torch.autocast("cpu", torch.bfloat16):
        found = [task.losses({"model": model}, batch, step)["loss"] for _ in range(2)]
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in found)


def test_a_state_that_the_model_does_not_have_cannot_be_carried(batch):
    task = NextToken(CrossEntropy(), CARD, carried=True)
    with pytest.raises(UserError, match="carried"):
        task.losses({"model": gpt()}, batch, context(task))


def test_a_card_without_a_vocabulary_is_refused():
    with pytest.raises(UserError, match="no classes in column 'tokens'"):
        NextToken(CrossEntropy(), card({"tokens": Column("uint8", (7,))}))


def test_a_rule_is_learned_in_some_steps():
    """After n comes n + 1: the loss falls from ln 5 to almost nothing."""
    torch.manual_seed(0)
    tokens = (torch.arange(LENGTH + 1) + torch.arange(5)[:, None]) % 5
    batch, task = {"tokens": tokens, "sample_id": torch.arange(5)}, NextToken(CrossEntropy(), CARD)
    for model in (GPT(5, LENGTH, layers=1, heads=2, hidden_dim=16), LSTM(5, 8, 16)):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        for _ in range(25):
            optimizer.zero_grad()
            loss = task.losses({"model": model}, batch, context(task))["loss"] / 30
            loss.backward()
            optimizer.step()
        assert loss.item() < 0.1 < math.log(5)


def test_only_the_last_tokens_are_judged_and_those_before_them_are_known(batch):
    whole, task, networks = NextToken(CrossEntropy(), CARD), NextToken(CrossEntropy(), CARD, judged_tokens=2), {"model": lstm()}
    everything, found = whole.predict(networks, batch), task.predict(networks, batch)
    torch.testing.assert_close(found["nats"], everything["nats"][:, -2:])
    torch.testing.assert_close(found["losses"], everything["nats"][:, -2:].mean(dim=1))
    assert torch.equal(task.samples(batch, found)["targets"], batch["tokens"][:, -2:].long())
    metric = task.metrics()
    metric.update(found, batch)
    assert metric.compute([metric.state()])["tokens"] == 2 * ROWS
    assert torch.equal(task.losses(networks, batch, context(task))["loss"], whole.losses(networks, batch, context(whole))["loss"])


@pytest.mark.parametrize("make", [lstm, gpt])
def test_the_gallery_continues_the_first_row_in_each_way(batch, make):
    task, networks = NextToken(CrossEntropy(), CARD), {"model": make().eval()}
    draws = Draws(0, 0, batch["sample_id"])
    found = task.gallery(networks, batch, draws)
    assert torch.equal(found["prompt"], batch["tokens"][0].long())  # shorter than a prompt may be
    assert found["continuations"].shape == (len(SAMPLINGS), SAMPLED_TOKENS)
    assert {name: len(found[name]) for name in ("temperature", "top_k", "top_p")} == dict.fromkeys(("temperature", "top_k", "top_p"), len(SAMPLINGS))
    assert torch.equal(found["continuations"], task.gallery(networks, batch, draws)["continuations"])
    other = task.gallery(networks, batch, Draws(1, 0, batch["sample_id"]))["continuations"]
    assert torch.equal(found["continuations"][0], other[0])  # greedy
    assert not torch.equal(found["continuations"][1:], other[1:])
