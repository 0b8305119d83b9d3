"""Classification scores of the samples as they are, and the accuracy of each of several changed forms of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from components.metrics.base import Metric, State
from components.metrics.classification import Classification

_COUNTS = "slice_hits"


class SlicedClassification(Metric):
    """`components.metrics.classification` and, for each slice, how many samples are predicted right in that form.

    Args:
        class_names: K names in label order.
        slices: "<kind>/<value>", such as "points/64".
    """

    def __init__(self, class_names: Sequence[str], slices: Sequence[str]) -> None:
        self._whole = Classification(len(class_names), class_names)
        self.slices = list(slices)
        self._hits = torch.zeros(len(self.slices), dtype=torch.int64)

    def update(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Take one batch: beside what `Classification` takes, `slice.<name> (B,)`, the class predicted for each sample in that form."""
        self._whole.update(outputs, batch)
        for number, name in enumerate(self.slices):
            self._hits[number] += int((outputs[f"slice.{name}"] == batch["targets"]).sum())

    def state(self) -> State:
        """What `Classification` exchanges, and the hits of each slice, int64."""
        return {**self._whole.state(), _COUNTS: self._hits}

    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return the scores of `Classification`; `accuracy_<kind>_<value>` of each slice; and `slices` {kind: [{value, accuracy}]} for charts."""
        scores = self._whole.compute([{name: value for name, value in state.items() if name != _COUNTS} for state in states])
        hits = torch.stack([state[_COUNTS] for state in states]).sum(0).tolist()
        tables: dict[str, list[dict[str, float]]] = {}
        for name, right in zip(self.slices, hits, strict=True):
            kind, _, value = name.partition("/")
            accuracy = right / scores["samples"]
            scores[f"accuracy_{kind}_{value}"] = accuracy
            tables.setdefault(kind, []).append({"value": float(value), "accuracy": accuracy})
        return {**scores, "slices": tables}
