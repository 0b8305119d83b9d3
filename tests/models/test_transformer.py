"""The Transformer against torch's own layers, the sizes of notes 003, and what padding, order and later tokens must not change."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from components.data.draws import Draws
from components.layers.dropout import hand_draws, stochastic_layers
from components.models.language.transformer import Transformer
from components.models.language.transformer_layers import Attention, DecoderLayer, EncoderLayer, sinusoids


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer(vocab_size=13, max_tokens=10, layers=2, heads=2, hidden_dim=8, feedforward_dim=12, dropout=0.2).eval()


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    source, target = torch.randint(4, 13, (3, 7), generator=generator), torch.randint(4, 13, (3, 5), generator=generator)
    return {"source": source, "source_mask": torch.arange(7) < torch.tensor([[7], [4], [1]]), "target": target}


def test_layers_have_the_sizes_of_the_paper(model):
    """Notes 003: the six and six layers of the base model have 44,138,496."""
    encoder, decoder = EncoderLayer(8, 512, 2_048, 0.1), DecoderLayer(8, 512, 2_048, 0.1)
    assert (count(encoder.attention), count(encoder.feedforward)) == (1_050_624, 2_099_712)
    assert (count(encoder), count(decoder), 6 * count(encoder) + 6 * count(decoder)) == (3_152_384, 4_204_032, 44_138_496)
    assert [count(layer) for layer in model.layers()] == [
        13 * 8,
        *[count(EncoderLayer(2, 8, 12, 0.1))] * 2,
        *[count(DecoderLayer(2, 8, 12, 0.1))] * 2,
    ]
    assert count(model) == sum(count(layer) for layer in model.layers())  # one embedding for source, target and output


def test_two_vocabularies_have_two_embeddings():
    sizes = [count(Transformer(13, 10, 1, 2, 8, 12, shared_vocabulary=shared)) for shared in (True, False)]
    assert sizes[1] - sizes[0] == 13 * 8


def copy_attention(own: Attention, torchs: nn.MultiheadAttention) -> None:
    torchs.in_proj_weight.copy_(torch.cat([part.weight for part in (own.queries, own.keys, own.values)]))
    torchs.in_proj_bias.copy_(torch.cat([part.bias for part in (own.queries, own.keys, own.values)]))
    torchs.out_proj.load_state_dict(own.output.state_dict())


@torch.no_grad()
def copy_layer(own: EncoderLayer | DecoderLayer, torchs: nn.Module) -> None:
    for parameter in own.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))  # norms and biases too
    copy_attention(own.attention, torchs.self_attn)
    norms = [own.attention_norm, own.feedforward_norm]
    if isinstance(own, DecoderLayer):
        copy_attention(own.cross, torchs.multihead_attn)
        norms.insert(1, own.cross_norm)
    for i, norm in enumerate(norms):
        getattr(torchs, f"norm{i + 1}").load_state_dict(norm.state_dict())
    torchs.linear1.load_state_dict(own.feedforward.widening.state_dict())
    torchs.linear2.load_state_dict(own.feedforward.narrowing.state_dict())


def test_the_encoder_layer_is_torchs(batch):
    torch.manual_seed(0)
    own, torchs = EncoderLayer(2, 8, 12, 0.1).eval(), nn.TransformerEncoderLayer(8, 2, 12, batch_first=True).eval()
    copy_layer(own, torchs)
    inputs, mask = torch.randn(3, 7, 8, requires_grad=True), batch["source_mask"]
    torch.testing.assert_close(own(inputs, mask)[mask], torchs(inputs, src_key_padding_mask=~mask)[mask])


def test_the_decoder_layer_is_torchs(batch):
    torch.manual_seed(0)
    own, torchs = DecoderLayer(2, 8, 12, 0.1).eval(), nn.TransformerDecoderLayer(8, 2, 12, batch_first=True).eval()
    copy_layer(own, torchs)
    inputs, encoded, mask = torch.randn(3, 5, 8), torch.randn(3, 7, 8), batch["source_mask"]
    causal = nn.Transformer.generate_square_subsequent_mask(5)
    expected = torchs(inputs, encoded, tgt_mask=causal, memory_key_padding_mask=~mask, tgt_is_causal=True)
    torch.testing.assert_close(own(inputs, encoded, mask), expected)


def test_attention_has_the_weights_and_outputs_of_the_notes():
    """Notes 003: Q = K = I, V = [[1, 2], [3, 4]]."""
    layer = Attention(1, 2)
    with torch.no_grad():
        for part in (layer.queries, layer.keys, layer.values, layer.output):
            part.weight.copy_(torch.eye(2))
            part.bias.zero_()
        layer.values.weight.copy_(torch.tensor([[1.0, 3.0], [2.0, 4.0]]))
    inputs = torch.eye(2)[None]
    everywhere = torch.ones(1, 2, dtype=torch.bool)
    weights = layer.weights(inputs, inputs, everywhere)[0, 0]
    torch.testing.assert_close(weights, torch.tensor([[0.6698, 0.3302], [0.3302, 0.6698]]), atol=5e-5, rtol=0)
    out = layer(inputs, layer.keys_and_values(inputs), everywhere)[0]
    torch.testing.assert_close(out, torch.tensor([[1.6605, 2.6605], [2.3395, 3.3395]]), atol=5e-5, rtol=0)


def test_attention_has_the_gradients_of_its_formula():
    torch.manual_seed(0)
    layer = Attention(2, 4).double()
    inputs = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert torch.autograd.gradcheck(lambda x: layer(x, layer.keys_and_values(x), mask), inputs)
    assert torch.autograd.gradcheck(lambda x: layer(x, layer.keys_and_values(x), causal=True), inputs)


def test_without_positions_attention_does_not_see_the_order():
    torch.manual_seed(0)
    layer, inputs, order = Attention(2, 8), torch.randn(1, 5, 8), torch.tensor([3, 0, 4, 1, 2])
    shuffled = inputs[:, order]
    torch.testing.assert_close(layer(shuffled, layer.keys_and_values(shuffled)), layer(inputs, layer.keys_and_values(inputs))[:, order])


def test_positions_are_those_of_the_notes():
    """Notes 000/001 T29: d = 4, position 1."""
    torch.testing.assert_close(sinusoids(2, 4)[1], torch.tensor([0.8414710, 0.5403023, 0.0099998, 0.9999500]))
    assert sinusoids(3, 4)[0].tolist() == [0, 1, 0, 1]


def test_padding_changes_nothing(model, batch):
    logits = model(**batch)
    wider = {
        **batch,
        "source": torch.cat([batch["source"], torch.full((3, 2), 9)], 1),
        "target": torch.cat([batch["target"], torch.full((3, 3), 9)], 1),
    }
    wider["source_mask"] = torch.cat([batch["source_mask"], torch.zeros(3, 2, dtype=torch.bool)], 1)
    torch.testing.assert_close(model(**wider)[:, :5], logits)
    alone = model(batch["source"][1:2, :4], batch["source_mask"][1:2, :4], batch["target"][1:2])
    torch.testing.assert_close(alone[0], logits[1])


def test_a_target_token_changes_no_earlier_place(model, batch):
    changed = {**batch, "target": batch["target"].clone()}
    changed["target"][:, 3] = (changed["target"][:, 3] + 1) % 13
    before, after = model(**batch), model(**changed)
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any(dim=2).all()


def test_chosen_places_have_the_logits_of_all(model, batch):
    places = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]]).bool()
    torch.testing.assert_close(model(**batch, places=places), model(**batch)[places])


def test_reading_token_by_token_gives_the_same_logits(model, batch):
    memory, state = model.start(batch["source"], batch["source_mask"])
    assert all(len(value) == 3 for value in (*memory.values(), *state.values()))
    steps = []
    for tokens in batch["target"].unbind(1):
        logits, state = model.step(tokens, memory, state)
        steps.append(logits)
    torch.testing.assert_close(torch.stack(steps, dim=1), model(**batch))


def test_alignment_is_a_distribution_over_the_source(model, batch):
    weights = model.alignment(batch["source"], batch["source_mask"], batch["target"])
    assert weights.shape == (3, 2, 5, 7)
    torch.testing.assert_close(weights.sum(3), torch.ones(3, 2, 5))
    assert (weights[2, :, :, 1:] == 0).all() and (weights[2, :, :, 0] == 1).all()


def test_dropout_belongs_to_the_sample_however_its_batch_is_padded(model, batch):
    model.train()
    layers = stochastic_layers(model)
    hand_draws(layers, Draws(0, 0, torch.tensor([5, 6, 7])))
    together = model(**batch)
    hand_draws(layers, Draws(0, 0, torch.tensor([6])))
    alone = model(batch["source"][1:2, :4], batch["source_mask"][1:2, :4], batch["target"][1:2, :3])
    torch.testing.assert_close(alone[0], together[1, :3])
    hand_draws(layers, Draws(0, 1, torch.tensor([5, 6, 7])))
    assert not torch.allclose(model(**batch), together)


def test_the_start_is_near_a_uniform_guess():
    torch.manual_seed(0)
    model = Transformer(500, 12, layers=2, heads=4, hidden_dim=64, feedforward_dim=128).eval()
    tokens = torch.randint(4, 500, (8, 12))
    with torch.no_grad():
        nats = nn.functional.cross_entropy(model(tokens, tokens > 0, tokens).flatten(0, 1), torch.randint(4, 500, (96,)))
    assert abs(float(nats) - math.log(500)) < 0.8  # post-norm outputs of deviation 1 and an embedding of deviation 1 / 8: logits of deviation 1


def test_wrong_sizes_are_refused(model):
    with pytest.raises(ValueError, match="max_tokens is 10"):
        model(torch.ones(1, 11, dtype=torch.int64), torch.ones(1, 11, dtype=torch.bool), torch.ones(1, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="multiple of heads"):
        Transformer(13, 10, layers=1, heads=3, hidden_dim=8, feedforward_dim=8)
