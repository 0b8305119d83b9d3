"""DCGAN's published sizes and parameter counts, its rules, and the VAE's reparameterisation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from components.errors import UserError
from components.models.generative.dcgan import DCGAN
from components.models.generative.vae import VAE


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("width", "generator"), [(64, 3_576_704), (128, 12_658_432)])
def test_the_notes_parameter_counts_are_of_the_generator(width, generator):
    """003 section 18: 64 and 1024 maps next to the image and the noise."""
    with torch.device("meta"):
        model = DCGAN(width=width)
    assert count(model.generator) == generator
    if width == 64:
        doublings = [(64, 128), (128, 256), (256, 512)]
        assert count(model.discriminator) == 3 * 64 * 16 + sum(a * b * 16 + 2 * b for a, b in doublings) + 512 * 16 == 2_765_568


@pytest.mark.parametrize(("size", "sides"), [(64, [4, 8, 16, 32, 64]), (28, [7, 14, 28]), (32, [4, 8, 16, 32]), (8, [4, 8]), (40, [5, 10, 20, 40])])
def test_sides_on_the_way(size, sides):
    """003 section 17: 4-8-16-32-64."""
    model, seen = DCGAN(size, channels=1, latent=3, width=2), []
    for module in model.generator.modules():
        if isinstance(module, nn.ConvTranspose2d):
            module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape[-1]))
    images = model.generator(torch.zeros(2, 3))
    assert seen == sides
    assert images.shape == (2, 1, size, size) and images.abs().max() <= 1
    assert model.discriminator(images).shape == (2,)


@pytest.mark.parametrize("size", [6, 7, 9])
def test_a_side_that_cannot_be_halved(size):
    with pytest.raises(UserError, match="halved"):
        DCGAN(size)


def test_images_of_another_size_are_refused():
    with pytest.raises(UserError, match="another size"):
        DCGAN(8, channels=1, width=2).discriminator(torch.zeros(2, 1, 16, 16))


def test_the_five_rules():
    """002 L4910-4920."""
    model = DCGAN(width=2)
    kinds = {type(module) for module in model.modules()}
    assert not kinds & {nn.MaxPool2d, nn.AvgPool2d, nn.Linear}
    for network, own, other, layer in (
        (model.generator, nn.ReLU, nn.LeakyReLU, nn.ConvTranspose2d),
        (model.discriminator, nn.LeakyReLU, nn.ReLU, nn.Conv2d),
    ):
        modules = list(network.modules())
        assert any(isinstance(m, own) for m in modules) and not any(type(m) is other for m in modules)
        convolutions, normalisations = sum(isinstance(m, layer) for m in modules), sum(isinstance(m, nn.BatchNorm2d) for m in modules)
        assert normalisations == convolutions - (1 if network is model.generator else 2)
    assert isinstance(model.generator.blocks[-1], nn.Tanh)


def test_weights_start_small():
    model = DCGAN()
    weights = torch.cat([m.weight.flatten() for m in model.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01) and abs(weights.mean().item()) < 1e-4


def vae() -> VAE:
    torch.manual_seed(0)
    return VAE([1, 4, 3], hidden=5, latent=2).double()


def test_vae_shapes_and_parameters():
    model = VAE([1, 28, 28])
    assert count(model) == 785 * 500 + 501 * 40 + 21 * 500 + 501 * 784 == 815_824
    logits, mean, log_variance = vae()(torch.rand(3, 1, 4, 3, dtype=torch.float64), torch.zeros(3, 6, 2, dtype=torch.float64))
    assert logits.shape == (3, 6, 1, 4, 3) and mean.shape == log_variance.shape == (3, 2)


def test_reparameterisation():
    """z = mean + sigma * noise: noise 0 decodes the mean, and z has that mean and that spread."""
    model, inputs = vae(), torch.rand(3, 1, 4, 3, dtype=torch.float64)
    mean, log_variance = model.encode(inputs)
    logits, *_ = model(inputs, torch.zeros(3, 1, 2, dtype=torch.float64))
    torch.testing.assert_close(logits[:, 0], model.decode(mean))
    noise = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits, *_ = model(inputs, noise)
    torch.testing.assert_close(logits[:, 2], model.decode(mean + log_variance.exp().sqrt() * noise[:, 2]))


def test_the_gradient_goes_through_the_draw():
    model, inputs = vae(), torch.rand(1, 1, 4, 3, dtype=torch.float64)
    noise = torch.ones(1, 1, 2, dtype=torch.float64)
    names = dict(model.named_parameters())

    def first_logit(bias: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(model, {**names, "encoder.3.bias": bias}, (inputs, noise))[0].flatten()[0]

    assert torch.autograd.gradcheck(first_logit, (model.encoder[3].bias.detach().clone().requires_grad_(),))
