"""The checks: a look and those before it -> findings. Limits are the notes' (002 section 14) where these name one; else the reason stands beside.

A check alarms at what no sound run does, well beyond what the notes call good; the step records show the figures themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from components.training.watch.finding import Finding
from components.training.watch.history import LONG, History
from components.training.watch.look import Look

Check = Callable[[Look, History], Iterator[Finding]]

DEAD_FRACTION = 0.6  # D21; of a layer's units. Up to 0.42 of a sound LeNet-5's are asleep over five batches of 64 (measured, 11 runs)
SATURATED_FRACTION = 0.5  # D22; of a layer's activations
STD_LOW, STD_HIGH = 0.5 / 100, 2.0 * 100  # D23 calls 0.5 to 2 good; a sound LeNet-5 with torch's own initialisation goes from 0.06 to 14 (measured)
MEAN_HIGH = 10.0  # D23 "mean much larger than 0": where a sigmoid is saturated (D22)
UPDATE_LASTING = 100 * 1e-3  # D24 (erratum E15): 1e-3 is good; AdamW's first steps at rate 4e-3 reach 0.08 of a fresh layer
UPDATE_ONCE = 1.0  # D24: a step as large as the weights themselves
UPDATE_LOST = 1e-7  # D24: float32 has 7 digits, so the sum of weight and update is the weight
WEIGHT_GROWTH = 10.0  # D25: times the larger of its first size and a fresh layer's
BIAS_LARGE = 10.0  # D25: alone saturates a sigmoid (D22), unless it began there
NORM_JUMP = 100.0  # D26: times the largest of the looks before
FLOW_VANISHED = 1e-6  # D36: of the largest gradient of the network's weights, which is float32's precision again
LOSS_SHARE = 1e-3  # D17: of the phase's largest term
ACCURACY_HIGH, ACCURACY_LOW = 0.95, 0.6  # D37: of the discriminator, at LONG looks
SPECTRAL_GROWTH = 10.0  # D37: Brock et al. 2019 (BigGAN), section 4.1: the largest singular values explode when the model collapses
STABLE_RANK_LOW, STABLE_RANK_START = 1.5, 3.0  # D37: 1 is a matrix of rank one, whose outputs all lie on a line
_GOOD_UPDATE = "updates should be about 1e-3 of the weights"


def not_finite(look: Look, history: History) -> Iterator[Finding]:
    """D27: the first layer whose output is not finite, and weights that an update has spoilt. What follows a bad layer is bad too, and not named.

    A gradient that is not finite is no finding: the fp16 scaler meets some, skips the step and goes on. Where it was applied, the weights show it.
    """
    bad = [layer for layer, value in look["not_finite"].items() if value]
    spoilt = [layer for quantity in ("weight_size", "bias") for layer, value in look[quantity].items() if not math.isfinite(value)]
    cause = "look for a logarithm of 0, a division by 0 and a learning rate that is too high (x 0.1)"
    if bad:
        yield Finding("D27", bad[0], math.nan, 0.0, f"the first layer, in order of calls, whose output holds a NaN or an infinity: {cause}")
    if spoilt:
        yield Finding("D27", spoilt[0], math.nan, 0.0, f"not finite after the update, with {len(spoilt) - 1} other parameters: {cause}")


def dead_units(look: Look, history: History) -> Iterator[Finding]:
    """D21: ReLU units that no sample of the window has made active: they pass no gradient, so they never learn again."""
    for layer, value in look["dead"].items():
        if value > DEAD_FRACTION:
            text = f"{value:.0%} of the ReLU's units were never active: lower the learning rate, start with biases above 0, or take a leaky ReLU"
            yield Finding("D21", layer, value, DEAD_FRACTION, text)


def saturated(look: Look, history: History) -> Iterator[Finding]:
    """D22: a sigmoid or tanh whose inputs are so large that its derivative is nearly 0."""
    for layer, value in look["saturated"].items():
        if value > SATURATED_FRACTION:
            text = f"{value:.0%} of the activations are saturated and pass no gradient: start with smaller weights, or normalise before"
            yield Finding("D22", layer, value, SATURATED_FRACTION, text)


def activations(look: Look, history: History) -> Iterator[Finding]:
    """D23: outputs of linear layers whose spread or mean is far from what an initialisation aims at."""
    good = "their standard deviation should be 0.5 to 2"
    for layer, std in look["std"].items():
        if std < STD_LOW:
            yield Finding("D23", layer, std, STD_LOW, f"the activations vanish: {good}. Initialise by He or Xavier, or normalise")
        elif std > STD_HIGH:
            yield Finding("D23", layer, std, STD_HIGH, f"the activations explode: {good}. Standardise the inputs, or normalise")
    for layer, mean in look["mean"].items():
        if abs(mean) > MEAN_HIGH and not look["std"][layer] > STD_HIGH:
            yield Finding("D23", layer, mean, MEAN_HIGH, "the activations' mean is far from 0: try batch normalisation or ELUs")


def updates(look: Look, history: History) -> Iterator[Finding]:
    """D24 and D18: how far a step moves the weights. A rate that was once large enough and has decayed since is meant to be small."""
    for layer, size in look["update_size"].items():
        pushed, largest = history.always("gradient", layer, bool), history.largest("update_size", layer)
        if pushed and largest == 0.0:
            yield Finding("D18", layer, size, 0.0, "it gets a gradient and does not move: is it in the optimizer, and is the learning rate above 0?")
        elif pushed and largest < UPDATE_LOST:
            yield Finding("D24", layer, size, UPDATE_LOST, f"{_GOOD_UPDATE} and are lost in rounding: raise the learning rate (x 10)")
        elif size > UPDATE_ONCE:
            yield Finding("D24", layer, size, UPDATE_ONCE, "one update was larger than the weights: lower the learning rate (x 0.1)")
        elif history.always("update_size", layer, lambda value: value > UPDATE_LASTING):
            yield Finding("D24", layer, size, UPDATE_LASTING, f"{_GOOD_UPDATE}: lower the learning rate (x 0.1)")


def no_gradient(look: Look, history: History) -> Iterator[Finding]:
    """D18: a parameter that may learn and gets no gradient, or only zeros. A network that gets none at all is one finding."""
    without = [layer for layer in look["gradient"] if history.always("gradient", layer, lambda value: value == 0.0)]
    text = "no gradient in all looks of the window: is it cut off (detach), frozen, unused, or behind dead units?"
    for network in look["gradient_norm"]:
        layers = [layer for layer in without if layer.partition(".")[0] == network]
        whole = len(layers) == sum(layer.partition(".")[0] == network for layer in look["gradient"])
        for layer in [network] if whole else layers:
            yield Finding("D18", layer, 0.0, 0.0, text)


def gradient_norm(look: Look, history: History) -> Iterator[Finding]:
    """D26: the norm of a network's gradients jumps."""
    for network, value in look["gradient_norm"].items():
        before = history.before("gradient_norm", network)
        if len(before) >= 2 and value > NORM_JUMP * max(before) > 0.0:
            text = "the gradient explodes: clip it (trainer.clip_norm, from 1 to 10) or lower the learning rate"
            yield Finding("D26", network, value, NORM_JUMP * max(before), text)


def gradient_flow(look: Look, history: History) -> Iterator[Finding]:
    """D36: a weight whose gradient is nothing beside that of other layers."""
    for layer, value in look["flow"].items():
        if value > 0.0 and history.always("flow", layer, lambda ratio: ratio < FLOW_VANISHED):
            text = "the gradient vanishes on its way to this layer: try another initialisation, normalisation or residual connections"
            yield Finding("D36", layer, value, FLOW_VANISHED, text)


def weights(look: Look, history: History) -> Iterator[Finding]:
    """D25: weights that diverge, biases that become very large."""
    for layer, value in look["weight_size"].items():
        limit = WEIGHT_GROWTH * max(1.0, history.first("weight_before", layer))
        if value > limit:
            text = "the weights diverge (size in units of a fresh layer's): lower the learning rate, or add weight decay"
            yield Finding("D25", layer, value, limit, text)
    for layer, value in look["bias"].items():
        limit = BIAS_LARGE * max(1.0, history.first("bias_before", layer))
        if value > limit:
            yield Finding("D25", layer, value, limit, "a bias or scale has become very large: lower the learning rate, or normalise")


def loss_terms(look: Look, history: History) -> Iterator[Finding]:
    """D17: a term of the loss that counts for nothing beside another one of its phase."""
    for layer, value in look["loss_share"].items():
        if history.always("loss_share", layer, lambda share: share < LOSS_SHARE):
            yield Finding("D17", layer, value, LOSS_SHARE, "this term of the loss is nothing beside the largest one: look at the terms' weights")


def discriminator(look: Look, history: History) -> Iterator[Finding]:
    """D37: a discriminator that nothing deceives any more gives its generator no gradient; one that only guesses gives it no direction."""
    for layer, value in look["accuracy"].items():
        if history.always("accuracy", layer, lambda share: share > ACCURACY_HIGH, LONG):
            text = "the discriminator has been nearly always right for long: weaken it, or strengthen the generator (rate, steps, capacity)"
            yield Finding("D37", layer, value, ACCURACY_HIGH, text)
        elif history.always("accuracy", layer, lambda share: share < ACCURACY_LOW, LONG):
            text = "the discriminator has only guessed for long: either the samples are perfect (look at them) or it does not learn"
            yield Finding("D37", layer, value, ACCURACY_LOW, text)


def singular_values(look: Look, history: History) -> Iterator[Finding]:
    """D37: the singular values of a GAN's weights, which tell of mode collapse."""
    for layer, value in look["spectral"].items():
        limit = SPECTRAL_GROWTH * history.first("spectral", layer)
        if value > limit > 0.0:
            text = "the largest singular value explodes, as it does when modes collapse: go back to an earlier checkpoint"
            yield Finding("D37", layer, value, limit, text)
    for layer, value in look["stable_rank"].items():
        if value < STABLE_RANK_LOW and history.first("stable_rank", layer) >= STABLE_RANK_START:
            yield Finding("D37", layer, value, STABLE_RANK_LOW, "the weight has nearly collapsed to rank one, as it does when modes collapse")


CHECKS: tuple[Check, ...] = (
    not_finite,
    dead_units,
    saturated,
    activations,
    updates,
    no_gradient,
    gradient_norm,
    gradient_flow,
    weights,
    loss_terms,
    discriminator,
    singular_values,
)
