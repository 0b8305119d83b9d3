"""A sound run keeps quiet, each planted fault is found, and watching changes nothing to the bit."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from statistics import median

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from components.models.cnn.lenet5 import LeNet5
from components.training.watch.finding import Finding
from components.training.watch.watch import Watch
from tests.training.systems import ToyGan

BATCH = 32


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """(1797, 1, 32, 32) standardised, (1797,), shuffled."""
    inputs, targets = load_digits(return_X_y=True)
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(inputs, dtype=torch.float32)[order].reshape(-1, 1, 8, 8)
    return F.interpolate((images - images.mean()) / images.std(), size=32), torch.tensor(targets)[order]


def lenet() -> nn.Module:
    torch.manual_seed(0)
    return LeNet5()


def mlp(activation: Callable[[], nn.Module] = nn.ReLU, width: int = 32, depth: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    hidden = [layer for _ in range(depth - 1) for layer in (nn.Linear(width, width), activation())]
    return nn.Sequential(nn.Flatten(), nn.Linear(1024, width), activation(), *hidden, nn.Linear(width, 10))


def train(
    model: nn.Module, data: tuple[Tensor, Tensor], *, optimizer: torch.optim.Optimizer | None = None, steps: int = 16, every_steps: int = 1
) -> tuple[list[Finding], list[dict[str, float]]]:
    """Some steps, watched as the loop does it."""
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=4e-3)
    watch = Watch({"model": model}, every_steps)
    found, figures = [], []
    for step in range(steps):
        inputs, targets = data[0][step * BATCH : (step + 1) * BATCH], data[1][step * BATCH : (step + 1) * BATCH]
        optimizer.zero_grad()
        if watch.due(step):
            with watch.forward():
                F.cross_entropy(model(inputs), targets).backward()
            watch.gradients("main", "model")
            optimizer.step()
            watch.updated("main", "model")
            figures.append(watch.figures())
            found += watch.findings()
        else:
            F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
    return found, figures


def reported(found: list[Finding]) -> set[tuple[str, str]]:
    return {(f.check, f.layer) for f in found}


@pytest.mark.parametrize("rates", [("AdamW", 4e-3), ("SGD", 0.05)])
def test_a_sound_lenet_keeps_quiet(digits, rates):
    model = lenet()
    optimizer = getattr(torch.optim, rates[0])(model.parameters(), lr=rates[1])
    found, figures = train(model, digits, optimizer=optimizer, steps=48)
    assert found == []
    assert figures[-1].keys() >= {"watch/activation_std_min", "watch/update_ratio_median", "watch/gradient_norm/model"}
    assert all(math.isfinite(value) for record in figures for value in record.values())


@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid, nn.GELU, nn.LeakyReLU])
def test_a_sound_perceptron_keeps_quiet(digits, activation):
    assert train(mlp(activation), digits, optimizer=None, steps=32)[0] == []


def spoil(model: nn.Module, name: str, change: Callable[[Tensor], object]) -> nn.Module:
    with torch.no_grad():
        change(model.get_parameter(name))
    return model


def test_negative_biases_before_a_relu_are_d21(digits):
    found, figures = train(spoil(mlp(), "1.bias", lambda b: b.fill_(-100.0)), digits)
    assert ("D21", "model.2") in reported(found)
    assert next(f for f in found if f.check == "D21").value == 1.0
    assert [step for step, record in enumerate(figures) if "watch/dead_units" in record] == [4, 9, 14]  # at the end of each window of five
    assert ("D18", "model.1.weight") in reported(found)  # nothing comes through


def test_large_weights_before_tanh_are_d22(digits):
    found, figures = train(spoil(mlp(nn.Tanh), "1.weight", lambda w: w.mul_(100)), digits, steps=1)
    assert ("D22", "model.2") in reported(found) and figures[0]["watch/saturated"] > 0.5


@pytest.mark.parametrize(("factor", "exploded"), [(1e-3, False), (1e3, True)])
def test_vanishing_and_exploding_activations_are_d23(digits, factor, exploded):
    model = spoil(spoil(mlp(nn.GELU), "1.weight", lambda w: w.mul_(factor)), "1.bias", lambda b: b.mul_(factor))
    found, _ = train(model, digits, steps=1)
    finding = next(f for f in found if (f.check, f.layer) == ("D23", "model.1"))
    assert (finding.value > finding.limit) == exploded and ("explode" in finding.text) == exploded


def test_a_mean_far_from_zero_is_d23(digits):
    found, _ = train(spoil(mlp(nn.GELU), "1.bias", lambda b: b.fill_(30.0)), digits, steps=1)
    assert any(f.check == "D23" and f.layer == "model.1" and f.value == pytest.approx(30, abs=1) and "mean" in f.text for f in found)


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_a_rate_of_ten_is_d24_and_d25(digits, name):
    model = lenet()
    found, _ = train(model, digits, optimizer=getattr(torch.optim, name)(model.parameters(), lr=10.0), steps=6)
    assert {"D24", "D25"} <= {f.check for f in found}
    assert all("lower the learning rate" in f.text for f in found if f.check == "D24")


def test_a_lasting_tenth_of_the_weights_is_d24(digits):
    """A plain layer of fan-in 1024 has weights of 1/32; AdamW's first steps are as large as its rate, so 0.02 is 0.64 of them."""
    model = mlp()
    found, _ = train(model, digits, optimizer=torch.optim.AdamW(model.parameters(), lr=2e-2), steps=5)
    finding = next(f for f in found if (f.check, f.layer) == ("D24", "model.1.weight"))
    assert 0.1 == finding.limit < finding.value < 1.0


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_a_rate_of_a_billionth_is_found(digits, name):
    """A float32 does not move by less than 6e-8 of itself: what is lost altogether is D18, the rest D24."""
    model = lenet()
    found, _ = train(model, digits, optimizer=getattr(torch.optim, name)(model.parameters(), lr=1e-9), steps=8)
    weights = {f"model.{n}" for n, p in model.named_parameters() if p.dim() > 1}
    assert {f.layer for f in found if f.check in ("D18", "D24")} == weights
    assert all("learning rate" in f.text for f in found)


def test_a_layer_that_the_optimizer_does_not_know_is_d18(digits):
    model = lenet()
    known = [p for name, p in model.named_parameters() if not name.startswith("classifier.3")]
    found, _ = train(model, digits, optimizer=torch.optim.AdamW(known, lr=4e-3))
    assert reported(found) == {("D18", "model.classifier.3.weight")} and "is it in the optimizer" in found[0].text


class CutOff(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.detach()


def test_a_layer_that_is_cut_off_is_d18(digits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(1024, 16), CutOff(), nn.Linear(16, 10))
    assert reported(train(model, digits)[0]) == {("D18", "model.1.weight"), ("D18", "model.1.bias")}


def test_a_layer_that_is_frozen_later_is_d18_and_one_frozen_before_is_meant(digits):
    model = lenet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    model.features[0].requires_grad_(False)
    assert train(model, digits, optimizer=optimizer)[0] == []
    watch = Watch({"model": model}, 1)
    model.features[3].requires_grad_(False)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(digits[0][:8]), digits[1][:8]).backward()
        watch.gradients("main", "model")
        optimizer.step()
        watch.updated("main", "model")
        watch.figures()
    assert {layer for check, layer in reported(watch.findings()) if check == "D18"} == {"model.features.3.weight", "model.features.3.bias"}


def test_a_network_without_any_gradient_is_one_finding():
    networks = {"used": nn.Linear(2, 2), "left": nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))}
    watch = Watch(networks, 1)
    for _ in range(5):
        networks["used"](torch.ones(1, 2)).sum().backward()
        for name in networks:
            watch.gradients("main", name)
        watch.figures()
    assert reported(watch.findings()) == {("D18", "left")}


def test_a_gradient_that_jumps_is_d26(digits):
    model, found = mlp(nn.Tanh), []
    watch = Watch({"model": model}, 1)
    for scale in (1.0, 3.0, 0.5, 50.0, 1.0, 5001.0):
        model.zero_grad()
        (scale * F.cross_entropy(model(digits[0][:8]), digits[1][:8])).backward()
        watch.gradients("main", "model")
        watch.figures()
        found.append(reported(watch.findings()))
    assert found == [set(), set(), set(), set(), set(), {("D26", "model")}]


class Break(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.log()


def test_the_first_bad_layer_is_d27(digits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(1024, 16), Break(), nn.Linear(16, 10))
    found, figures = train(model, digits, steps=1)
    assert [f.layer for f in found if f.check == "D27"] == ["model.2", "model.1.weight"]
    assert all(math.isnan(value) for name, value in figures[0].items() if "update" in name)


def test_a_spoilt_gradient_that_nobody_applies_is_no_finding(digits):
    """The fp16 scaler meets infinities at its first steps and skips them."""
    model = lenet()
    watch = Watch({"model": model}, 1)
    F.cross_entropy(model(digits[0][:8]), digits[1][:8]).mul(math.inf).backward()
    watch.gradients("main", "model")
    watch.updated("main", "model")
    watch.figures()
    assert watch.findings() == []


def test_a_vanishing_gradient_is_d36(digits):
    """A sigmoid's derivative is at most 1/4 and torch's initial weights have a gain of 1/sqrt(3): over 12 layers, (1/4/sqrt(3))^12 = 8e-11."""
    found, figures = train(mlp(nn.Sigmoid, depth=14), digits, optimizer=None, steps=5)
    assert ("D36", "model.1.weight") in reported(found) and figures[0]["watch/gradient_flow_min"] < 1e-6


def test_evaluation_mode_is_d15(digits):
    model = lenet().eval()
    assert ("D15", "model") in reported(train(model, digits, steps=1)[0])


@pytest.mark.parametrize(("share", "found"), [(1e-4, {("D17", "main.small")}), (1e-2, set())])
def test_a_term_that_counts_for_nothing_is_d17(share, found):
    watch = Watch({"model": nn.Linear(1, 1)}, 1)
    for _ in range(5):
        assert watch.findings() == []
        watch.losses("main", {"large": torch.tensor(-2.0), "small": torch.tensor(2 * share)})
        watch.losses("other", {"alone": torch.tensor(0.0)})
        figures = watch.figures()
    assert figures["watch/loss_share_min"] == pytest.approx(share)
    assert reported(watch.findings()) == found


def test_a_single_term_has_no_share():
    watch = Watch({"model": nn.Linear(1, 1)}, 1)
    watch.losses("main", {"loss": torch.tensor(2.0)})
    assert watch.figures() == {}


@pytest.mark.parametrize(("right", "found"), [(1.0, {("D37", "discriminator")}), (0.8, set()), (0.5, {("D37", "discriminator")})])
def test_a_discriminator_that_knows_all_or_nothing_for_long_is_d37(right, found):
    model = ToyGan(normalise=False)
    watch = Watch({"generator": model.generator, "discriminator": model.discriminator}, 1)
    logits = torch.ones(10)
    logits[round(10 * right) :] = -1.0
    for _ in range(10):
        assert watch.findings() == []
        watch.scores("discriminator", logits, -logits)
        assert watch.figures()["watch/discriminator_accuracy"] == pytest.approx(right)
    assert reported(watch.findings()) == found


def test_a_gan_s_collapsing_weights_are_d37_once_an_epoch(monkeypatch):
    calls, decompose = [], torch.linalg.svdvals
    monkeypatch.setattr(torch.linalg, "svdvals", lambda matrix: (calls.append(1), decompose(matrix))[1])
    model = nn.Linear(32, 32, bias=False)
    start = nn.init.orthogonal_(model.weight.data.clone())  # every singular value 1, stable rank 32
    watch = Watch({"generator": model}, 1)

    def look(weight: Tensor) -> set[tuple[str, str]]:
        model.weight.data = weight
        watch.new_epoch()
        for _ in range(2):  # the second step of the epoch measures nothing
            watch.scores("generator", torch.ones(1), torch.ones(1))
            watch.gradients("generator", "generator")
            watch.updated("generator", "generator")
            watch.figures()
        return {(f.check, f.text[:22]) for f in watch.findings() if f.check == "D37"}

    line = torch.outer(start[0], start[1])
    assert look(start) == set()
    assert look(9 * start) == set()
    assert look(11 * start) == {("D37", "the largest singular v")}
    assert look(line) == {("D37", "the weight has nearly ")}
    assert len(calls) == 4


def test_each_finding_is_reported_once_an_epoch(digits):
    model = spoil(mlp(nn.Tanh), "1.weight", lambda w: w.mul_(100))
    watch = Watch({"model": model}, 1)

    def look() -> list[str]:
        with watch.forward():
            model(digits[0][:8])
        watch.figures()
        return [f.check for f in watch.findings()]

    assert [look() for _ in range(3)] == [["D22"], [], []]
    watch.new_epoch()
    assert [look() for _ in range(2)] == [["D22"], []]


@pytest.mark.parametrize(
    ("every_steps", "steps"),
    [(0, []), (200, [0, 1, 2, 4, 8, 16, 32, 64, 200, 400]), (50, [0, 1, 2, 4, 8, 16, 32, 50, 64, *range(100, 401, 50)]), (1, list(range(401)))],
)
def test_which_steps_are_due(every_steps, steps):
    watch = Watch({"model": nn.Linear(1, 1)}, every_steps)
    assert [step for step in range(401) if watch.due(step)] == steps


def test_a_negative_distance_is_refused():
    with pytest.raises(ValueError, match="every_steps"):
        Watch({}, -1)


def test_watching_changes_nothing_to_the_bit(digits):
    """With dropout (which draws), batch normalisation (which keeps means) and an in-place ReLU."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * 28 * 28, 10))
    states = []
    for model, every_steps in ((plain, 0), (copy.deepcopy(plain), 1)):
        torch.manual_seed(1)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        train(model, digits, optimizer=optimizer, steps=7, every_steps=every_steps)
        states.append((model.state_dict(), optimizer.state_dict()["state"], torch.get_rng_state()))
    (weights, moments, generator), (watched, its_moments, its_generator) = states
    assert torch.equal(generator, its_generator)
    assert all(torch.equal(weights[name], watched[name]) for name in weights)
    assert all(torch.equal(moments[i][name], its_moments[i][name]) for i in moments for name in moments[i])


def test_nothing_is_left_of_a_watched_step(digits):
    model = mlp()
    watch = Watch({"model": model}, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch.forward():
        F.cross_entropy(model(digits[0][:8]), digits[1][:8]).backward()
    watch.gradients("main", "model")
    optimizer.step()
    watch.updated("main", "model")
    assert watch._parameters["model"]._before == {}  # the copy of the weights
    assert not any(module._forward_hooks for module in model.modules())


def test_the_figures_are_those_of_torch(digits):
    model = mlp(nn.Tanh)
    before = [p.detach().clone() for p in model.parameters()]
    _, figures = train(model, digits, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), steps=1)
    ratios = [((p - q).norm() / q.norm()).item() for p, q in zip(model.parameters(), before, strict=True) if q.dim() > 1]
    assert figures[0]["watch/update_ratio_median"] == pytest.approx(median(ratios), rel=1e-5)
    assert figures[0]["watch/gradient_norm/model"] == pytest.approx(nn.utils.get_total_norm([p.grad for p in model.parameters()]).item(), rel=1e-5)
    assert figures[0]["watch/bias_max"] == pytest.approx(max(p.abs().max().item() for p in model.parameters() if p.dim() == 1))


def test_under_ddp_the_bare_network_is_seen(digits, tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = spoil(mlp(nn.Tanh), "1.weight", lambda w: w.mul_(100))
        wrapped = nn.parallel.DistributedDataParallel(model)
        watch = Watch({"model": model}, 1)
        with watch.forward():
            F.cross_entropy(wrapped(digits[0][:8]), digits[1][:8]).backward()
        watch.gradients("main", "model")
        watch.updated("main", "model")
        figures = watch.figures()
        assert reported(watch.findings()) == {("D22", "model.2")}
        assert figures["watch/gradient_norm/model"] > 0
    finally:
        torch.distributed.destroy_process_group()


def test_with_autocast_to_bfloat16(digits):
    model = lenet()
    watch = Watch({"model": model}, 1)
    with watch.forward(), torch.autocast("cpu", torch.bfloat16):
        F.cross_entropy(model(digits[0][:8]), digits[1][:8]).backward()
    watch.gradients("main", "model")
    assert watch.figures()["watch/activation_std_min"] > 0 and watch.findings() == []
