"""Which parameters learn, and how fast: the groups of an optimizer, made from names.

Patterns are shell patterns of parameter names as `named_parameters` has them; `*` matches dots too, so `encoder.*` is everything below `encoder`.
A parameter that stands under several names (tied weights) is matched by each of them.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Any

from torch import nn

from components.errors import UserError, nearest
from components.spec.schema import ParametersSpec

# `_NormBase` is what BatchNorm*, SyncBatchNorm, InstanceNorm* and their lazy forms have in common.
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def parameter_groups(network: nn.Module, spec: ParametersSpec) -> list[dict[str, Any]]:
    """Return groups for a torch optimizer: parameters that share a rate and a decay, in the order of their first parameter.

    Each group has `params`, `rate_factor` (to be multiplied with the optimizer's `lr`) and, where the decay is off, `weight_decay: 0.0`.
    Frozen parameters (`requires_grad` off) are left out, tied ones stand once. With the default specification there is one group.

    Raises:
        UserError: a pattern matches no parameter, or a rate is below 0.
    """
    factors = _rate_factors(network, spec)
    undecayed = _undecayed(network, spec.no_decay)
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            factor, off = factors[parameter], parameter in undecayed
            group = groups.setdefault((factor, off), {"params": [], "rate_factor": factor, **({"weight_decay": 0.0} if off else {})})
            group["params"].append(parameter)
    return list(groups.values())


def freeze(network: nn.Module, patterns: Iterable[str]) -> None:
    """Switch off the gradients of the parameters that match. Buffers, such as a BatchNorm's running statistics, go on moving in training mode.

    Raises:
        UserError: a pattern matches no parameter.
    """
    for pattern in patterns:
        for parameter in _matching(network, pattern, "parameters.frozen"):
            parameter.requires_grad_(False)


def layers_of(network: nn.Module) -> list[nn.Module]:
    """Return the layers from first to last: what the method `layers()` of the model names, else its children in order."""
    # Asked of the class: an attribute `layers` that is a module would be callable as well.
    if callable(getattr(type(network), "layers", None)):
        return list(network.layers())  # type: ignore[operator]
    return list(network.children())


def _rate_factors(network: nn.Module, spec: ParametersSpec) -> dict[nn.Parameter, float]:
    """Layer-wise decay times the factors of all patterns that match."""
    factors = dict.fromkeys(network.parameters(), 1.0)
    if spec.layer_decay is not None:
        factors = _layer_factors(network, spec.layer_decay)
    for pattern, rate in spec.rates.items():
        if rate < 0.0:
            raise UserError(f"parameters.rates of '{pattern}' is out of range", received=rate, expected="at least 0")
        for parameter in _matching(network, pattern, "parameters.rates"):
            factors[parameter] *= rate
    return factors


def _layer_factors(network: nn.Module, decay: float) -> dict[nn.Parameter, float]:
    """decay^(distance from the last layer) (ELECTRA: Clark et al. 2020; BEiT: Bao et al. 2022).

    What lies outside all layers (a class token, a table of positions) is as deep as the first; what layers share belongs to the first of them.
    """
    layers = layers_of(network)
    depths = dict.fromkeys(network.parameters(), 0)
    for depth, layer in reversed(list(enumerate(layers))):
        depths.update(dict.fromkeys(layer.parameters(), depth))
    return {parameter: decay ** max(0, len(layers) - 1 - depth) for parameter, depth in depths.items()}


def _undecayed(network: nn.Module, no_decay: tuple[str, ...]) -> set[nn.Parameter]:
    """The parameters whose decay is off. The kinds, unlike patterns, may match nothing: a network without normalisation is no mistake."""
    kinds = {"bias": _biases, "norm": _norms}
    return {p for entry in no_decay for p in (kinds[entry](network) if entry in kinds else _matching(network, entry, "parameters.no_decay"))}


def _biases(network: nn.Module) -> list[nn.Parameter]:
    """Parameters whose own name has the word bias: `bias`, an LSTM's `bias_ih_l0`, attention's `in_proj_bias`."""
    return [p for name, p in _named(network) if "bias" in name.rpartition(".")[2].split("_")]


def _norms(network: nn.Module) -> list[nn.Parameter]:
    """The affine parameters of normalisation layers."""
    return [p for module in network.modules() if isinstance(module, _NORMS) for p in module.parameters(recurse=False)]


def _matching(network: nn.Module, pattern: str, path: str) -> list[nn.Parameter]:
    found = list(dict.fromkeys(p for name, p in _named(network) if fnmatch.fnmatchcase(name, pattern)))  # each once, tied or not
    if not found:
        names = [name for name, _ in _named(network)]
        below = {f"{name[:i]}.*" for name in names for i, letter in enumerate(name) if letter == "."}
        raise UserError(
            f"{path} matches no parameter{nearest(pattern, [*names, *sorted(below)])}",
            received=pattern,
            expected=f"a pattern of parameter names, such as {', '.join(names[:3]) or '(there are none)'}",
        )
    return found


def _named(network: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    """Every name of every parameter; tied ones have several."""
    return network.named_parameters(remove_duplicate=False)
