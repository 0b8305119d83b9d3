"""GPT against torch's own Transformer layer, the published parameter count, and causality."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from components.data.draws import Draws
from components.layers.dropout import hand_draws, stochastic_layers
from components.models.language.gpt import GPT, Block, CausalAttention


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GPT(vocab_size=11, context_tokens=9, layers=2, heads=2, hidden_dim=8, dropout=0.2)


@pytest.fixture
def tokens():
    return torch.randint(11, (3, 9), generator=torch.Generator().manual_seed(1))


def test_gpt_2_has_its_published_number_of_parameters():
    with torch.device("meta"):
        model = GPT(50_257, 1_024, layers=12, heads=12, hidden_dim=768, dropout=0.1)
    width = 768
    norms, attention = 2 * 2 * width, (width + 1) * 3 * width + (width + 1) * width
    perceptron = (width + 1) * 4 * width + (4 * width + 1) * width
    assert [count(layer) for layer in model.layers()] == [(50_257 + 1_024) * width, *[norms + attention + perceptron] * 12, 2 * width]
    assert count(model) == 124_439_808
    hand_draws(stochastic_layers(model), Draws(0, 0, torch.arange(2, device="meta")))
    assert model(torch.zeros(2, 1_024, dtype=torch.int64, device="meta")).shape == (2, 1_024, 50_257)


def copied(block: Block) -> nn.TransformerEncoderLayer:
    """torch's layer with the block's weights: norms first, tanh GELU."""
    width, heads = block.attention.residual.in_features, block.attention.heads
    gelu = nn.GELU(approximate="tanh")
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, activation=gelu, batch_first=True, norm_first=True)
    pairs = {
        "self_attn.in_proj_": block.attention.projections,
        "self_attn.out_proj.": block.attention.residual,
        "linear1.": block.perceptron.widening,
        "linear2.": block.perceptron.residual,
        "norm1.": block.attention_norm,
        "norm2.": block.perceptron_norm,
    }
    layer.load_state_dict({name + kind: getattr(module, kind) for name, module in pairs.items() for kind in ("weight", "bias")})
    return layer.double()


def test_the_whole_model_is_torch_s_layers_between_the_embeddings(model, tokens):
    model = model.double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)  # biases and norms that can be told from 0 and 1
    mask = nn.Transformer.generate_square_subsequent_mask(9, dtype=torch.float64)
    state = model.state_dict()
    hidden = state["embedding.token.weight"][tokens] + state["embedding.position.weight"]
    for block in model.blocks:
        hidden = copied(block)(hidden, src_mask=mask, is_causal=True)
    normed = nn.functional.layer_norm(hidden, (8,), state["norm.weight"], state["norm.bias"])
    torch.testing.assert_close(model(tokens), normed @ state["embedding.token.weight"].T)


def test_the_first_token_sees_itself_alone():
    """One token: the softmax of one score is 1, so attention is the projection of the value."""
    attention = CausalAttention(heads=2, hidden_dim=4).double()
    inputs = torch.randn(3, 5, 4, dtype=torch.float64)
    values = attention.projections(inputs[:, :1])[..., 8:]
    torch.testing.assert_close(attention(inputs)[:, :1], attention.residual(values))


def test_future_tokens_cannot_change_the_past(model, tokens):
    model.eval()
    before = model(tokens)
    for place in range(9):
        changed = tokens.clone()
        changed[:, place] = (tokens[:, place] + 1) % 11
        after = model(changed)
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.isclose(after[:, place], before[:, place]).all()


def test_a_short_sequence_gives_what_it_gives_as_a_beginning(model, tokens):
    model.eval()
    torch.testing.assert_close(model(tokens[:, :4]), model(tokens)[:, :4])
    with pytest.raises(ValueError, match="context_tokens"):
        model(torch.zeros(1, 10, dtype=torch.int64))


def test_the_output_is_the_token_embedding_and_the_state_holds_it_once(model):
    assert not [name for name in model.state_dict() if "output" in name or "head" in name]
    assert len({p.data_ptr() for p in model.parameters()}) == len(list(model.parameters()))


def test_the_start_is_nano_gpt_s():
    torch.manual_seed(0)
    model = GPT(vocab_size=500, context_tokens=64, layers=8, heads=4, hidden_dim=128)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            expected = 0.02 / math.sqrt(16) if "residual" in name else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
        else:
            assert (parameter == float("norm" in name and name.endswith("weight"))).all(), name
    assert sum("residual.weight" in name for name, _ in model.named_parameters()) == 2 * 8
    logits = model(torch.randint(500, (4, 64)))
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), torch.randint(500, (256,)))
    assert loss.item() == pytest.approx(math.log(500), abs=0.1)  # it knows nothing yet


def test_dropout_follows_the_samples(model, tokens):
    layers = stochastic_layers(model)
    assert [name for name, _ in layers] == ["dropout", *[f"blocks.{i}.{part}_dropout" for i in (0, 1) for part in ("attention", "perceptron")]]
    ids = torch.tensor([5, 0, 9])
    hand_draws(layers, Draws(0, 0, ids))
    whole = model(tokens)
    assert not torch.allclose(whole, model.eval()(tokens))
    model.train()
    for row in range(3):
        hand_draws(layers, Draws(0, 0, ids[row : row + 1]))
        torch.testing.assert_close(model(tokens[row : row + 1])[0], whole[row])


@pytest.mark.parametrize("place", range(5))
def test_each_place_of_dropout_takes_part(model, tokens, place):
    layers = stochastic_layers(model)
    hand_draws(layers, Draws(0, 0, torch.arange(3)))
    silent = model.eval()(tokens)
    layers[place][1].train()
    assert not torch.allclose(model(tokens), silent)


def test_every_parameter_gets_a_gradient_and_lies_in_one_layer(model, tokens):
    model.eval()(tokens).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    in_layers = [p for layer in model.layers() for p in layer.parameters()]
    assert [id(p) for p in in_layers] == [id(p) for p in model.parameters()]


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="heads must divide"):
        GPT(11, 9, layers=1, heads=3, hidden_dim=8)
