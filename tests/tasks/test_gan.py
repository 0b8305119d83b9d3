"""Two phases that leave each other alone, what the metric sees, and a classifier as a measure."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from components.data.card import Card, Column, Statistics
from components.data.draws import Draws
from components.errors import UserError
from components.files import sha256_file, write_json
from components.losses.adversarial import NonSaturating
from components.models.cnn.lenet5 import LeNet5
from components.models.generative.dcgan import DCGAN
from components.spec.parse import to_plain
from components.tasks.base import StepContext
from components.tasks.features import FeatureExtractor
from components.tasks.gan import Adversarial
from flows.compose import compose

ROOT = Path(__file__).parents[2]
ROWS, LATENT = 6, 3
STATISTICS = {"inputs": Statistics((70.0,), (90.0,), 0.0, 255.0)}
CARD = Card("clothes", "Clothes", "none", "none", {}, {"inputs": Column("uint8", (1, 8, 8))}, {}, STATISTICS)


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return {"inputs": torch.rand(ROWS, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1, "sample_id": torch.arange(ROWS)}


@pytest.fixture
def model() -> DCGAN:
    torch.manual_seed(0)
    return DCGAN(8, channels=1, latent=LATENT, width=4)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """An untrained LeNet-5 as the train stage saves it."""
    directory = tmp_path_factory.mktemp("features")
    torch.manual_seed(0)
    save_file(LeNet5().state_dict(), directory / "model.safetensors")
    spec = to_plain(compose(ROOT, ["experiment=cnn/lenet5"]))
    files = {"model.safetensors": {"sha256": sha256_file(directory / "model.safetensors"), "bytes": 0}}
    write_json(directory / "meta.json", {"spec": spec, "weights": "model.safetensors", "files": files, "data_sha256": CARD.content_sha256})
    return directory


def context(task: Adversarial, phase: int, batch: dict[str, Tensor], **options) -> StepContext:
    return StepContext(task.phases[phase], Draws(0, 0, batch["sample_id"]), step=0, epoch=0, **options)


def test_a_phase_reaches_its_own_network_alone(batch, model):
    task = Adversarial(NonSaturating(), CARD, LATENT)
    networks = task.split(model)
    assert {name: id(network) for name, network in networks.items()} == {"discriminator": id(model.discriminator), "generator": id(model.generator)}
    for phase, (own, other) in enumerate([("discriminator", "generator"), ("generator", "discriminator")]):
        model.zero_grad()
        networks[other].requires_grad_(False)  # as the loop does
        sums = task.losses(networks, batch, context(task, phase, batch))
        assert set(sums) == set(task.counts(batch, context(task, phase, batch)))
        torch.stack(list(sums.values())).sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in networks[own].parameters())
        assert all(p.grad is None for p in networks[other].parameters())
        networks[other].requires_grad_(True)


def test_the_watcher_hears_the_discriminator_s_scores_once_a_step(batch, model):
    task, heard = Adversarial(NonSaturating(), CARD, LATENT), []
    for phase in (0, 1):
        task.losses(task.split(model), batch, context(task, phase, batch, scores=lambda *told: heard.append(told)))
    ((network, real, fake),) = heard
    assert network == "discriminator" and real.shape == fake.shape == (ROWS,)


@torch.no_grad()
def test_predictions_belong_to_the_samples(batch, model):
    task = Adversarial(NonSaturating(), CARD, LATENT)
    networks = task.split(model.eval())
    whole = task.predict(networks, batch)
    part = task.predict(networks, {name: column[[4, 1]] for name, column in batch.items()})
    for name, value in whole.items():
        torch.testing.assert_close(part[name], value[[4, 1]])
    metric = task.metrics()
    metric.update(whole, batch)
    scores = metric.compute([metric.state()])
    assert "frechet" not in scores and 0 <= scores["discriminator_accuracy"] <= 1
    shown = task.samples(batch, whole)
    torch.testing.assert_close(shown["losses"], torch.nn.functional.softplus(-whole["real_scores"]))
    gallery = task.gallery(networks, batch, Draws(0, 0, batch["sample_id"]))
    assert {name: tuple(value.shape) for name, value in gallery.items()} == {"generated": (6, 1, 8, 8), "interpolations": (6, 10, 1, 8, 8)}
    assert all(value.dtype == torch.uint8 for value in gallery.values())


@torch.no_grad()
def test_features_are_the_classifier_s_last_hidden_layer(batch, model, checkpoint):
    """Real images come back to raw units, are standardised and resized as in the classifier's training, and pass all but its last layer."""
    task = Adversarial(NonSaturating(), CARD, LATENT, {"features": checkpoint})
    outputs = task.predict(task.split(model.eval()), batch)
    torch.manual_seed(0)
    lenet = LeNet5().eval()
    raw = (batch["inputs"] + 1) * 127.5
    resized = torch.nn.functional.interpolate((raw - 70.0) / 90.0, size=(32, 32), mode="bilinear")
    torch.testing.assert_close(outputs["real_features"], lenet.classifier[:-1](lenet.features(resized)))
    assert outputs["fake_features"].shape == (ROWS, 84)
    metric = task.metrics()
    metric.update(outputs, batch)
    assert metric.compute([metric.state()])["frechet"] > 0
    outputs["fake_features"] = outputs["real_features"]
    metric = task.metrics()
    metric.update(outputs, batch)
    assert metric.compute([metric.state()])["frechet"] == pytest.approx(0.0, abs=1e-9)


def test_a_measure_of_other_data_or_other_weights_is_refused(checkpoint, tmp_path):
    other = Card("other", "Other", "none", "none", {}, CARD.columns, {}, STATISTICS)
    with pytest.raises(UserError, match="trained on other data"):
        FeatureExtractor(checkpoint, other)
    (tmp_path / "meta.json").write_bytes((checkpoint / "meta.json").read_bytes())
    save_file(LeNet5().state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="not what was saved"):
        FeatureExtractor(tmp_path, CARD)
