"""What a comparison of two data versions is told; plain data become it by `components.spec.parse.parse(DriftSpec, plain, "drift")`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from components.spec.schema import at_least, within


@dataclass(frozen=True)
class DriftSpec:
    """A feature has drifted where its distance is at least the threshold AND chance alone gives such a distance too seldom.

    Either alone misleads: on a million rows everything is significant, on fifty everything is large.
    """

    split: Literal["train", "validation", "test"] = "train"
    rows: int = at_least(20, 2000)  # of each version, drawn without replacement; fewer where there are fewer
    seed: int = at_least(0, 0)  # of that draw, of projections and permutations
    level: float = within(0.0, 1.0, 0.01)  # chance that anything at all is called drifted where nothing is (family-wise, Holm)
    bins: int = at_least(2, 10)  # of psi: quantiles of the reference
    psi: float = at_least(1e-6, 0.25)  # 0.1 is a small shift, 0.25 a large one (Siddiqi 2006)
    ks: float = at_least(1e-6, 0.1)  # largest distance of the distribution functions
    mmd: float = at_least(1e-6, 0.01)  # squared, of an RBF kernel: 0 to 2
    mmd_rows: int = at_least(4, 500)  # of each version: memory is quadratic in them
    most_features: int = at_least(1, 64)  # a row with more values is summed up by mean, deviation, minimum, maximum
