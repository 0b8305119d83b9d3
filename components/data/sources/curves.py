"""Generated regression data whose noise is known: what a density head has to find (notes 002 M18, section 13 "MLP regress").

Legend: N rows. `x` is uniform in [0, 1); the noise is Laplace's, as the heads of M18 suppose.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from components.data.card import Column
from components.data.columns import Columns, SourceData
from components.errors import UserError

Values = npt.NDArray[np.float64]
Truth = tuple[Values, Values, Values]  # weights, locations, scales of the Laplace distributions that y is drawn from, (N, M) each

EDGE_SCALE = 0.1


def read_curves(
    raw: Path, kind: Literal["bimodal", "heteroscedastic"], train_rows: int, validation_rows: int, test_rows: int, seed: int
) -> SourceData:
    """Draw rows of one kind.

    - bimodal: the depth at an edge, `1 + 0.4 sin 2 pi x` (near) or `3 + 0.4 cos 2 pi x` (far, with probability 0.2 + 0.6 x), scale 0.1;
    - heteroscedastic: `sin 2 pi x` with the scale `0.05 + 0.45 x^2`.

    Args:
        raw: not read.
        kind: which of the two.
        train_rows, validation_rows, test_rows: of each split.
        seed: of everything that is drawn.

    Returns:
        `inputs` float32 `(1,)`, `targets` float32 `()`, and what a model cannot know: `deviation`, the standard deviation of y given x, and
        `true_nll`, -log p(y | x) of the true density in nats, float32 `()` each.

    Raises:
        UserError: there is no such kind.
    """
    if kind not in _TRUTHS:
        raise UserError("data.prepare.kind has no such value", received=kind, expected=" or ".join(_TRUTHS))
    sizes = {"train": train_rows, "validation": validation_rows, "test": test_rows}
    splits = {name: _draw(_TRUTHS[kind], rows, seed, number) for number, (name, rows) in enumerate(sizes.items())}
    columns = {"inputs": Column("float32", (1,)), **{name: Column("float32") for name in ("targets", "deviation", "true_nll")}}
    return SourceData(columns, splits)


def bimodal(x: Values) -> Truth:
    """The truth of `bimodal` at x `(N,)`."""
    far = 0.2 + 0.6 * x
    locations = np.stack([1 + 0.4 * np.sin(2 * np.pi * x), 3 + 0.4 * np.cos(2 * np.pi * x)], axis=1)
    return np.stack([1 - far, far], axis=1), locations, np.full_like(locations, EDGE_SCALE)


def heteroscedastic(x: Values) -> Truth:
    """The truth of `heteroscedastic` at x `(N,)`."""
    return np.ones((len(x), 1)), np.sin(2 * np.pi * x)[:, None], (0.05 + 0.45 * x**2)[:, None]


_TRUTHS: dict[str, Callable[[Values], Truth]] = {"bimodal": bimodal, "heteroscedastic": heteroscedastic}


def _draw(truth: Callable[[Values], Truth], rows: int, seed: int, split: int) -> Columns:
    x, choice, noise = _uniform((3, rows), seed, split)
    x = x.astype(np.float32).astype(np.float64)  # what the model sees is what the truth is told of
    weights, locations, scales = truth(x)
    chosen = (choice[:, None] >= np.cumsum(weights, axis=1)[:, :-1]).sum(axis=1)
    every = np.arange(rows)
    # The inverse of Laplace's distribution function, by how far the draw is from the middle.
    y = locations[every, chosen] - scales[every, chosen] * np.sign(noise - 0.5) * np.log1p(-2 * np.abs(noise - 0.5))
    y = y.astype(np.float32).astype(np.float64)
    density = (weights * np.exp(-np.abs(y[:, None] - locations) / scales) / (2 * scales)).sum(axis=1)
    mean = (weights * locations).sum(axis=1)
    variance = (weights * (2 * scales**2 + (locations - mean[:, None]) ** 2)).sum(axis=1)
    columns = {"targets": y, "deviation": np.sqrt(variance), "true_nll": -np.log(density)}
    return {"inputs": x.astype(np.float32)[:, None], **{name: column.astype(np.float32) for name, column in columns.items()}}


def _uniform(shape: tuple[int, int], *entropy: int) -> Values:
    """Uniform in (0, 1), from raw words of PCG64: numpy promises that their stream stays (NEP 19), and makes no such promise of its distributions."""
    words = np.random.PCG64(np.random.SeedSequence(entropy)).random_raw(shape[0] * shape[1])
    return ((words >> np.uint64(11)).astype(np.float64) + 0.5).reshape(shape) * 2.0**-53
