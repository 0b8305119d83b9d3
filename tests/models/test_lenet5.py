"""LeNet-5 against the figures of the paper's layer table, and what every model must do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.models.cnn.lenet5 import LeNet5


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LeNet5()


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_layer_by_layer(model):
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert [count(layer) for layer in layers] == [
        5 * 5 * 1 * 6 + 6,  # 156
        5 * 5 * 6 * 16 + 16,  # 2,416
        400 * 120 + 120,  # 48,120
        120 * 84 + 84,  # 10,164
        84 * 10 + 10,  # 850
    ]
    assert count(model) == 156 + 2_416 + 48_120 + 10_164 + 850 == 61_706
    assert count(LeNet5(in_channels=3)) == 62_006
    assert count(LeNet5(num_classes=3)) == 61_706 - 7 * 85


def test_shapes_on_the_way(model):
    seen = []
    for layer in [*model.features, *model.classifier]:
        if isinstance(layer, (nn.Conv2d, nn.MaxPool2d, nn.Linear)):
            layer.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape[1:])))
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 10)
    assert seen == [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,)]


def test_every_parameter_gets_a_gradient(model):
    model(torch.randn(8, 1, 32, 32)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_samples_do_not_lean_on_each_other(model):
    inputs = torch.randn(5, 1, 32, 32)
    together = model(inputs)
    assert model(inputs[:1]).shape == (1, 10)
    torch.testing.assert_close(torch.cat([model(row[None]) for row in inputs]), together)


def test_state_goes_round_strictly(model):
    torch.manual_seed(1)
    other = LeNet5()
    inputs = torch.randn(2, 1, 32, 32)
    assert not torch.equal(other(inputs), model(inputs))
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(other(inputs), model(inputs))
    with pytest.raises(RuntimeError):
        LeNet5(num_classes=3).load_state_dict(model.state_dict())


def test_bfloat16_stays_finite_and_near(model):
    inputs = torch.randn(4, 1, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(inputs)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), model(inputs), atol=0.02, rtol=0.05)


def test_float64_in_float64_out(model):
    assert model.double()(torch.randn(1, 1, 32, 32, dtype=torch.float64)).dtype == torch.float64


def test_another_size_of_image_is_refused_by_the_first_linear_layer(model):
    with pytest.raises(RuntimeError):
        model(torch.zeros(1, 1, 28, 28))
