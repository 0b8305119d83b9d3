"""Scores of language models. N samples (rows of tokens), T tokens of a row that were to be predicted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from components.errors import RunError
from components.metrics.base import Metric, State, gather_samples

_COLUMNS = {
    "sample_id": torch.int64,
    "nats": torch.float64,  # mean over the row's tokens
    "tokens": torch.int64,
    "hits": torch.int64,  # tokens that were predicted right
}
_LARGEST_NATS = math.log(torch.finfo(torch.float64).max)  # 709.8


class NextToken(Metric):
    """Cross entropy and accuracy of next-token prediction (notes 002 L3826-3957, R16, T37).

    A model that knows nothing has `log2 V` bits and perplexity V. Figures of different vocabularies or tokenizations are not comparable
    (002 L3957).

    Args:
        vocab_size: V.
    """

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self._batches: list[State] = []

    def update(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Take one batch.

        Args:
            outputs: `losses (B,)`, mean nats per token of each row, and `predictions (B, T)`, the likeliest token at each place.
            batch: `tokens (B, T + 1)` of any integer type in [0, V), `sample_id` int64 `(B,)`.

        Raises:
            AssertionError: predictions of another shape than `(B, T)`, or a target outside [0, V).
        """
        targets = batch["tokens"][:, 1:].detach().cpu().long()
        predictions = outputs["predictions"].detach().cpu()
        assert predictions.shape == targets.shape, (tuple(predictions.shape), tuple(targets.shape))
        assert bool(((targets >= 0) & (targets < self.vocab_size)).all()), f"a token lies outside [0, {self.vocab_size})"
        self._batches.append(
            {
                "sample_id": batch["sample_id"].detach().cpu().long(),
                "nats": outputs["losses"].detach().cpu().double(),
                "tokens": torch.full((len(targets),), targets.shape[1]),
                "hits": (predictions == targets).sum(dim=1),
            }
        )

    def state(self) -> State:
        """Return this rank's samples, each tensor `(n_rank,)`."""
        empty = {name: torch.empty(0, dtype=dtype) for name, dtype in _COLUMNS.items()}
        return {name: torch.cat([empty[name], *(part[name] for part in self._batches)]) for name in _COLUMNS}

    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return the scores over all ranks' samples; every token counts the same.

        Returns:
            Floats `nats_per_token`, `bits_per_token` (nats / ln 2), `perplexity` (e to the nats) and `accuracy`; `tokens`; `samples` (N).

        Raises:
            AssertionError: no sample at all, or one seen twice.
            RunError: a row's loss is no number, or so large that the perplexity is none.
        """
        samples = gather_samples(states)
        tokens = int(samples["tokens"].sum())
        assert tokens > 0, "no token was evaluated"
        # fsum is correctly rounded, so neither the order nor the number of threads can change the last bit.
        nats = math.fsum((samples["nats"] * samples["tokens"]).tolist()) / tokens
        if not nats < _LARGEST_NATS:
            bad = samples["sample_id"][~(samples["nats"] < _LARGEST_NATS)]
            raise RunError(f"The model gave {nats} nats per token, the first such row is sample_id {int(bad[0])}.")
        return {
            "nats_per_token": nats,
            "bits_per_token": nats / math.log(2.0),
            "perplexity": math.exp(nats),
            "accuracy": int(samples["hits"].sum()) / tokens,
            "tokens": tokens,
            "samples": len(samples["sample_id"]),
        }
