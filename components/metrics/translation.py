"""Scores of translations. N sentences, L the longest translation, R the longest reference in bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from components.errors import RunError
from components.metrics.base import Metric, State, gather_samples

_NUMBERS = {"sample_id": torch.int64, "tokens": torch.int64, "hits": torch.int64, "nats": torch.float64}
_TEXTS = {"greedy": torch.int32, "beam": torch.int32, "reference": torch.uint8}  # (n, L), (n, L), (n, R): zeros at the end
_SHOWN_ORDERS = 4


class Translation(Metric):
    """BLEU of two decodings, and cross entropy of the references' tokens.

    BLEU is sacreBLEU's (Post 2018, "A call for clarity in reporting BLEU scores"; Papineni et al. 2002): corpus-wide, 13a tokenization, lower
    case, exponential smoothing of orders without a match, one reference a sentence. So it does not depend on the model's own tokens, but nats,
    perplexity and accuracy do: they are comparable between models of one vocabulary only (notes 002 L3957).

    Args:
        to_text: a row of token numbers, padding included, as a sentence.
    """

    def __init__(self, to_text: Callable[[Sequence[int]], str]) -> None:
        self.to_text = to_text
        self._batches: list[State] = []

    def update(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Take one batch.

        Args:
            outputs: `losses (B,)`, mean nats per token of each sentence; `tokens (B,)`, how many those are; `hits (B,)`, how many were the
                likeliest; `greedy (B, L)` and `beam (B, L)`, translations as token numbers.
            batch: `reference`, UTF-8 of all sentences end to end, `reference.offsets (B + 1,)`, `sample_id (B,)`.
        """
        bytes_, offsets = batch["reference"].detach().cpu(), batch["reference.offsets"].detach().cpu()
        rows = [bytes_[start:stop] for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
        found = {
            "sample_id": batch["sample_id"],
            "tokens": outputs["tokens"],
            "hits": outputs["hits"],
            "nats": outputs["losses"],
            "greedy": outputs["greedy"],
            "beam": outputs["beam"],
            "reference": torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
        }
        self._batches.append({name: found[name].detach().cpu().to(dtype) for name, dtype in {**_NUMBERS, **_TEXTS}.items()})

    def state(self) -> State:
        """Return this rank's sentences, `(n_rank,)` or `(n_rank, L)` each."""
        empty = {name: torch.empty(0, dtype=dtype) for name, dtype in _NUMBERS.items()}
        empty |= {name: torch.empty(0, 0, dtype=dtype) for name, dtype in _TEXTS.items()}
        return _joined([empty, *self._batches])

    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return the scores over all ranks' sentences.

        Returns:
            Floats `bleu_beam` and `bleu_greedy` (0 to 100), `brevity_penalty` and `length_ratio` (translations : references, in words) of the
            beam's, `nats_per_token`, `accuracy` (of the next token, given the reference's before it); `precisions` [{order, beam, greedy}],
            percent; `signature`, what sacreBLEU says of how it counted; `tokens`; `samples` (N).

        Raises:
            AssertionError: no sentence at all, or one seen twice.
            RunError: a sentence's loss is no number.
        """
        samples = gather_samples(_widened(states))
        tokens = int(samples["tokens"].sum())
        assert tokens > 0, "no token was evaluated"
        nats = math.fsum((samples["nats"] * samples["tokens"]).tolist()) / tokens
        if not math.isfinite(nats):
            bad = samples["sample_id"][~samples["nats"].isfinite()]
            raise RunError(f"The model gave {nats} nats per token, the first such sentence is sample_id {int(bad[0])}.")
        references = [bytes(row).rstrip(b"\0").decode() for row in samples["reference"].tolist()]
        greedy, beam = (self._bleu(samples[name], references) for name in ("greedy", "beam"))
        return {
            "bleu_beam": beam["score"],
            "bleu_greedy": greedy["score"],
            "brevity_penalty": beam["brevity_penalty"],
            "length_ratio": beam["length_ratio"],
            "nats_per_token": nats,
            "accuracy": int(samples["hits"].sum()) / tokens,
            "precisions": [{"order": n + 1, "beam": beam["precisions"][n], "greedy": greedy["precisions"][n]} for n in range(_SHOWN_ORDERS)],
            "signature": beam["signature"],
            "tokens": tokens,
            "samples": len(samples["sample_id"]),
        }

    def _bleu(self, translations: Tensor, references: list[str]) -> dict[str, Any]:
        from sacrebleu.metrics.bleu import BLEU

        scorer = BLEU(lowercase=True)
        found = scorer.corpus_score([self.to_text(row) for row in translations.tolist()], [references])
        return {
            "score": float(found.score),
            "brevity_penalty": float(found.bp),
            "length_ratio": found.sys_len / found.ref_len if found.ref_len else 0.0,
            "precisions": [float(p) for p in found.precisions],
            "signature": str(scorer.get_signature()),
        }


def _widened(states: Sequence[State]) -> list[State]:
    """Give each text column the same width in every state; an empty one has none."""
    widths = {name: max(state[name].shape[1] for state in states) for name in _TEXTS}
    return [{k: F.pad(v, (0, widths[k] - v.shape[1])) if k in widths else v for k, v in state.items()} for state in states]


def _joined(states: Sequence[State]) -> State:
    states = _widened(states)
    return {name: torch.cat([state[name] for state in states]) for name in states[0]}
