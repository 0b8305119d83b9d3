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
_MOST_PAIRED = 256  # above this vocabulary, V x V counts are neither small nor well filled
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
        self._pairs = torch.zeros(2 * [vocab_size if vocab_size <= _MOST_PAIRED else 0], dtype=torch.int64)  # (previous token, target)

    def update(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Take one batch.

        Args:
            outputs: `losses (B,)`, mean nats per judged token of each row, and `predictions (B, S)`, the likeliest token at each judged place.
            batch: `tokens (B, T + 1)` of any integer type in [0, V), `sample_id` int64 `(B,)`; the last S of a row are judged.

        Raises:
            AssertionError: predictions of another shape than `(B, S)`, 0 < S <= T, or a target outside [0, V).
        """
        tokens, predictions = batch["tokens"].detach().cpu().long(), outputs["predictions"].detach().cpu()
        judged = predictions.shape[1]
        assert len(predictions) == len(tokens) and 0 < judged < tokens.shape[1], (tuple(predictions.shape), tuple(tokens.shape))
        previous, targets = tokens[:, -judged - 1 : -1], tokens[:, -judged:]
        assert bool(((targets >= 0) & (targets < self.vocab_size)).all()), f"a token lies outside [0, {self.vocab_size})"
        if self._pairs.numel():
            places = previous.flatten() * self.vocab_size + targets.flatten()
            self._pairs += places.bincount(minlength=self.vocab_size**2).reshape(self._pairs.shape)
        self._batches.append(
            {
                "sample_id": batch["sample_id"].detach().cpu().long(),
                "nats": outputs["losses"].detach().cpu().double(),
                "tokens": torch.full((len(targets),), targets.shape[1]),
                "hits": (predictions == targets).sum(dim=1),
            }
        )

    def state(self) -> State:
        """Return this rank's samples, each tensor `(n_rank,)`, and `pairs (V, V)`, how often which token stood before which target."""
        empty = {name: torch.empty(0, dtype=dtype) for name, dtype in _COLUMNS.items()}
        samples = {name: torch.cat([empty[name], *(part[name] for part in self._batches)]) for name in _COLUMNS}
        return {**samples, "pairs": self._pairs}

    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return the scores over all ranks' samples; every token counts the same.

        Returns:
            Floats `nats_per_token`, `bits_per_token` (nats / ln 2), `perplexity` (e to the nats) and `accuracy`; `tokens`; `samples` (N).
            Where V <= 256, what to compare the bits with: `unigram_bits`, the entropy of the targets, and `bigram_bits`, their entropy
            given the token before. No model of single tokens, or of pairs, can have fewer on this text, for these know its own counts.

        Raises:
            AssertionError: no sample at all, or one seen twice.
            RunError: a row's loss is no number, or so large that the perplexity is none.
        """
        samples = gather_samples([{name: state[name] for name in _COLUMNS} for state in states])
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
            **_baselines(torch.stack([state["pairs"] for state in states]).sum(dim=0)),
        }


def _baselines(pairs: Tensor) -> dict[str, float]:
    """Entropies in bits of `(V, V)` counts: H(target), and H(target | previous) = H(pair) - H(previous)."""
    if not pairs.numel():
        return {}
    return {"unigram_bits": entropy_bits(pairs.sum(dim=0)), "bigram_bits": entropy_bits(pairs) - entropy_bits(pairs.sum(dim=1))}


def entropy_bits(counts: Tensor) -> float:
    """Return the entropy of a distribution given by integer counts, of any shape, not all 0: `log2 N - sum n log2 n / N`."""
    seen = [n for n in counts.flatten().tolist() if n]
    total: int = sum(seen)
    return math.log2(total) - math.fsum(n * math.log2(n) for n in seen) / total
