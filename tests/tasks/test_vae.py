"""The bound as a task: its sums, the same draws for the same sample, and what it shows."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from components.data.draws import Draws
from components.losses.variational import NegativeELBO
from components.models.generative.vae import VAE
from components.tasks.base import StepContext
from components.tasks.vae import VariationalAutoencoder

ROWS, LATENT = 6, 2


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return {"inputs": torch.rand(ROWS, 1, 4, 4, generator=torch.Generator().manual_seed(1)), "sample_id": torch.arange(ROWS) + 3}


def system(samples: int = 4) -> tuple[dict[str, torch.nn.Module], VariationalAutoencoder]:
    torch.manual_seed(0)
    return {"model": VAE([1, 4, 4], hidden=7, latent=LATENT)}, VariationalAutoencoder(NegativeELBO(), LATENT, samples)


def context(task: VariationalAutoencoder, batch: dict[str, Tensor], epoch: int = 0) -> StepContext:
    return StepContext(task.phases[0], Draws(0, epoch, batch["sample_id"]), step=0, epoch=epoch)


def rows(batch: dict[str, Tensor], chosen: list[int]) -> dict[str, Tensor]:
    return {name: column[chosen] for name, column in batch.items()}


def test_both_terms_are_sums_over_samples_with_noise_of_their_own(batch):
    networks, task = system()
    whole = task.losses(networks, batch, context(task, batch))
    parts = [task.losses(networks, part, context(task, part)) for part in (rows(batch, [4, 0, 1]), rows(batch, [5, 3, 2]))]
    assert set(whole) == set(task.counts(batch, context(task, batch))) == {"reconstruction", "kl"}
    for name, value in whole.items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], value)
    later = task.losses(networks, batch, context(task, batch, epoch=1))
    assert not torch.isclose(later["reconstruction"], whole["reconstruction"])  # another epoch draws anew
    assert torch.equal(later["kl"], whole["kl"])  # and the divergence draws nothing


def test_every_parameter_learns(batch):
    networks, task = system()
    torch.stack(list(task.losses(networks, batch, context(task, batch)).values())).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in networks["model"].parameters())


@torch.no_grad()
def test_a_row_alone_decides_its_prediction_and_the_bounds_are_ordered(batch):
    networks, task = system(samples=500)
    whole, part = task.predict(networks, batch), task.predict(networks, rows(batch, [4, 0]))
    for name, value in whole.items():
        torch.testing.assert_close(part[name], value[[4, 0]], rtol=1e-4, atol=1e-4)
    assert (whole["importance_bound"] > -whole["losses"]).all()  # T47; of 500 samples the slack is far above their noise
    torch.testing.assert_close(whole["losses"], whole["reconstruction"] + whole["divergence"])


@torch.no_grad()
def test_a_decoder_that_knows_nothing_costs_ln_2_a_pixel(batch):
    networks, task = system()
    for parameter in networks["model"].parameters():
        parameter.zero_()
    found = task.predict(networks, batch)
    torch.testing.assert_close(found["reconstruction"], torch.full((ROWS,), 16 * math.log(2.0)))
    assert found["divergence"].abs().max() == 0  # q is the prior
    torch.testing.assert_close(found["importance_bound"], -found["reconstruction"])
    metric = task.metrics()
    metric.update(found, batch)
    scores = metric.compute([metric.state()])
    assert scores["elbo"] == pytest.approx(-16 * math.log(2.0)) and scores["active_units"] == 0
    shown = task.samples(batch, found)
    assert shown["reconstructions"].dtype == torch.uint8 and (shown["reconstructions"] == 128).all()


@torch.no_grad()
def test_the_gallery_interpolates_between_inputs_and_lays_out_the_plane(batch):
    networks, task = system()
    shown = task.gallery(networks, batch, Draws(0, 0, batch["sample_id"]))
    assert {name: tuple(value.shape) for name, value in shown.items()} == {
        "generated": (6, 1, 4, 4), "interpolations": (3, 10, 1, 4, 4), "manifold": (15, 15, 1, 4, 4),
    }  # fmt: skip
    decoded = task.samples(batch, task.predict(networks, batch))["reconstructions"]
    assert torch.equal(shown["interpolations"][:, 0], decoded[:3]) and torch.equal(shown["interpolations"][:, -1], decoded[3:])
    middle = networks["model"].decode(torch.zeros(1, 2)).sigmoid()  # the median of the prior
    assert torch.equal(shown["manifold"][7, 7], (255 * middle[0]).round().to(torch.uint8))
    corner = networks["model"].decode(torch.tensor([[-1.8339, 1.8339]])).sigmoid()  # the 1/30 quantile is -1.8339; left is low, up is high
    assert (shown["manifold"][0, 0].float() - 255 * corner[0]).abs().max() <= 1
