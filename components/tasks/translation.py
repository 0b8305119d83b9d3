"""Translation: a sentence of one language to one of another."""

from __future__ import annotations

import functools
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from components.data.card import Card
from components.data.draws import Draws
from components.data.sources.parallel import BOS, EOS, PAD, text
from components.decoding.beam import Beam, State, beam_search
from components.losses.classification import cross_entropy
from components.metrics.base import Metric
from components.metrics.translation import Translation as TranslationMetric
from components.tasks.base import Batch, Networks, StepContext, Task

_SHOWN_ALIGNMENTS = 4


class Translator(Protocol):
    """What a model must be able to do beside its forward pass `(source, source_mask, target, places) -> logits`; see the Transformer's."""

    def start(self, source: Tensor, source_mask: Tensor) -> tuple[State, State]: ...

    def step(self, tokens: Tensor, memory: State, state: State) -> tuple[Tensor, State]: ...

    def alignment(self, source: Tensor, source_mask: Tensor, target: Tensor) -> Tensor: ...


class Translation(Task):
    """Batches hold `source (B, S)` and `target (B, T + 1)` (begin, tokens, end), padded, each with its `.mask`, bool; and `reference`, ragged UTF-8.

    Args:
        loss: module `(logits (N, V), targets (N,)) -> (N,)`.
        card: the data set's card; the classes of `source` and `target` are the vocabularies.
        max_tokens: of a translation, its end counted.
        beam_size: hypotheses a sentence; 1 is greedy.
        length_penalty: alpha of Wu et al. 2016; the paper of 2017 has 0.6.
    """

    def __init__(self, loss: nn.Module, card: Card, max_tokens: int, beam_size: int = 4, length_penalty: float = 0.6) -> None:
        self.loss, self.vocabulary = loss, card.classes("target")
        self.greedy = Beam(size=1, max_tokens=max_tokens, bos=BOS, eos=EOS, pad=PAD)
        self.beam = Beam(size=beam_size, max_tokens=max_tokens, bos=BOS, eos=EOS, pad=PAD, length_penalty=length_penalty)

    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        """One term, `loss`, over the number of target tokens, end counted."""
        return {"loss": batch["target.mask"][:, 1:].sum()}

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Sum of the loss over the target tokens."""
        return {"loss": self.loss(_logits(networks["model"], batch), _targets(batch)).sum()}

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return `losses (B,)`, mean nats per token of the reference (unsmoothed); `tokens (B,)` and `hits (B,)`, of the reference's tokens the
        number and how many were likeliest; `greedy (B, L)` and `beam (B, L)` int64, translations of the source alone."""
        model, places = networks["model"], batch["target.mask"][:, 1:]
        logits, targets = _logits(model, batch), _targets(batch)
        nats, hits = torch.zeros_like(places, dtype=torch.float32), torch.zeros_like(places)
        nats[places], hits[places] = cross_entropy(logits, targets), logits.argmax(dim=1) == targets
        tokens = places.sum(dim=1)
        translator = cast(Translator, model)
        memory, state = translator.start(batch["source"].long(), batch["source.mask"])
        greedy, _ = beam_search(translator.step, memory, state, len(tokens), self.greedy)
        beam = greedy if self.beam.size == 1 else beam_search(translator.step, memory, state, len(tokens), self.beam)[0]
        return {"losses": nats.sum(dim=1) / tokens, "tokens": tokens, "hits": hits.sum(dim=1), "greedy": greedy, "beam": beam}

    def metrics(self) -> Metric:
        """BLEU of both decodings, nats per token, accuracy."""
        return TranslationMetric(functools.partial(text, vocabulary=self.vocabulary))

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses `(B,)` and both translations `(B, L)`; source and reference are columns of the data."""
        return {name: batch[name] if name == "sample_id" else outputs[name] for name in ("sample_id", "losses", "greedy", "beam")}

    def gallery(self, networks: Networks, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """What the greedy translations of the first few sentences look at: `alignment.source (n, S)`, `alignment.target (n, T)`, `alignment.weights
        (n, T, S)`, the mean over the heads of the last layer; row t is where the model looks when it writes token t."""
        source, mask = batch["source"][:_SHOWN_ALIGNMENTS].long(), batch["source.mask"][:_SHOWN_ALIGNMENTS]
        translator = cast(Translator, networks["model"])
        target, _ = beam_search(translator.step, *translator.start(source, mask), len(source), self.greedy)
        inputs = torch.cat([torch.full_like(target[:, :1], BOS), target[:, :-1]], dim=1)
        weights = translator.alignment(source, mask, inputs).mean(dim=1)
        return {"alignment.source": source, "alignment.target": target, "alignment.weights": weights}


def _targets(batch: Batch) -> Tensor:
    """All target tokens end to end, (N,) int64."""
    return batch["target"][:, 1:][batch["target.mask"][:, 1:]].long()


def _logits(model: nn.Module, batch: Batch) -> Tensor:
    """Those of the target tokens alone, (N, V): half of a padded batch is padding, and the vocabulary is the largest layer."""
    logits: Tensor = model(batch["source"].long(), batch["source.mask"], batch["target"][:, :-1].long(), batch["target.mask"][:, 1:])
    return logits
