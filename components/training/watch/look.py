"""One look at a training step, as plain numbers: what the tape holds, put together by quantity and layer."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

from components.training.watch.tape import Entry

# quantity -> layer -> number, layers in the order in which they were called:
#   not_finite       1 where the output holds a NaN or an infinity
#   std, mean        of what linear layers and convolutions give, but for the network's last one
#   dead, saturated  fraction of a ReLU's units; fraction of a sigmoid's or tanh's inputs
#   gradient         root mean square, each parameter
#   flow             that of a weight / the largest of its network's weights
#   gradient_norm    Euclidean, each network
#   update_ratio     rms(update) / rms(weight)
#   update_size      rms(update) / the larger of rms(weight) and a fresh layer's, which is defined where the weight is 0
#   weight_size      rms(weight) / a fresh layer's, after the update; weight_before: before it
#   bias             largest absolute value after the update; bias_before: root mean square before it
#   spectral         largest singular value s of a weight W; stable_rank: |W|^2 / s^2
#   loss_share       |term| / the largest of its phase, "phase.term"
#   accuracy         of a discriminator
Look = Mapping[str, Mapping[str, float]]


def put_together(entries: Iterable[Entry], fresh_scales: Mapping[str, float]) -> Look:
    """Return the look that a tape holds.

    Args:
        entries: of the tape, in order.
        fresh_scales: rms of each weight after a good initialisation.
    """
    calls: dict[str, dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        calls[entry.quantity][entry.layer].append(entry)
    look: dict[str, dict[str, float]] = defaultdict(dict)
    for quantity in ("not_finite", "dead", "saturated", "gradient", "accuracy"):
        look[quantity] = {layer: _mean(found) for layer, found in calls[quantity].items()}
    _add_activations(look, calls["activation"])
    _add_losses(look, calls["loss"])
    _add_gradients(look, calls["gradient"], fresh_scales)
    _add_weights(look, calls["weight"], fresh_scales)
    for layer, found in calls["bias"].items():
        _, look["bias_before"][layer], _, look["bias"][layer] = found[-1].values
    for layer, found in calls["singular"].items():
        look["spectral"][layer], look["stable_rank"][layer] = found[-1].values
    return look


def _mean(found: list[Entry]) -> float:
    """The mean over several calls, each with its weight."""
    return sum(e.weight * e.values[0] for e in found) / sum(e.weight for e in found)


def _add_activations(look: dict[str, dict[str, float]], calls: Mapping[str, list[Entry]]) -> None:
    last = {layer.partition(".")[0]: layer for layer in calls}  # a network's outputs have the scale of the targets, not of an activation
    for layer, found in calls.items():
        if last[layer.partition(".")[0]] != layer:
            mean = sum(e.weight * e.values[1] for e in found) / sum(e.weight for e in found)
            variance = sum(e.weight * (e.values[0] + (e.values[1] - mean) ** 2) for e in found) / sum(e.weight for e in found)
            look["mean"][layer], look["std"][layer] = mean, math.sqrt(variance)


def _add_losses(look: dict[str, dict[str, float]], calls: Mapping[str, list[Entry]]) -> None:
    sizes = {layer: _mean(found) for layer, found in calls.items()}
    largest: dict[str, float] = defaultdict(float)
    for layer, size in sizes.items():
        phase = layer.partition(".")[0]
        largest[phase] = max(largest[phase], size)
    look["loss_share"] = {layer: size / largest[layer.partition(".")[0]] for layer, size in sizes.items() if largest[layer.partition(".")[0]] > 0.0}


def _add_gradients(look: dict[str, dict[str, float]], calls: Mapping[str, list[Entry]], weights: Mapping[str, float]) -> None:
    largest: dict[str, float] = defaultdict(float)
    squares: dict[str, float] = defaultdict(float)
    for layer, found in calls.items():
        network = layer.partition(".")[0]
        squares[network] += found[-1].weight * found[-1].values[0] ** 2
        if layer in weights:
            largest[network] = max(largest[network], found[-1].values[0])
    look["gradient_norm"] = {network: math.sqrt(square) for network, square in squares.items()}
    for layer in filter(weights.__contains__, calls):
        top = largest[layer.partition(".")[0]]
        look["flow"][layer] = look["gradient"][layer] / top if top > 0.0 else 1.0


def _add_weights(look: dict[str, dict[str, float]], calls: Mapping[str, list[Entry]], fresh_scales: Mapping[str, float]) -> None:
    for layer, found in calls.items():
        update, before, after, _ = found[-1].values
        look["weight_before"][layer], look["weight_size"][layer] = before / fresh_scales[layer], after / fresh_scales[layer]
        look["update_size"][layer] = update / max(before, fresh_scales[layer])
        if before > 0.0:
            look["update_ratio"][layer] = update / before
