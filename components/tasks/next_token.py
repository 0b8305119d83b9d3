"""Next-token prediction: each token of a row from those before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.data.card import Card
from components.data.draws import Draws
from components.decoding.sampling import Sampling, generate
from components.errors import UserError
from components.losses.classification import cross_entropy
from components.metrics.base import Metric
from components.metrics.language import NextToken as NextTokenMetric
from components.tasks.base import Batch, Networks, StepContext, Task

State = dict[str, Tensor]

PROMPT_TOKENS, SAMPLED_TOKENS = 32, 300  # of the gallery
SAMPLINGS = (Sampling(0.0), Sampling(0.5), Sampling(0.8), Sampling(1.0), Sampling(1.0, top_k=10), Sampling(1.0, top_p=0.9))


class NextToken(Task):
    """Batches hold `tokens (B, T + 1)` of any integer type: all but the last are inputs, all but the first are targets.

    The model maps tokens `(B, T)` to logits `(B, T, V)`, or tokens and a state to `(logits, state)`; a state is a dict of tensors `(B, ...)`.

    Args:
        loss: module `(logits (N, V), targets (N,)) -> (N,)`.
        card: the data set's card; the classes of its `tokens` column are the vocabulary.
        carried: the state after a step is where the next one starts, without gradients (truncated backpropagation through time, Williams
            and Peng 1990; notes 002 L3500). The order of the data must be contiguous.
        judged_tokens: how many of a row's last targets `predict` judges; those before them only bring the state up to date, as the carried
            state does in training. None: all.
    """

    def __init__(self, loss: nn.Module, card: Card, carried: bool = False, judged_tokens: int | None = None) -> None:
        self.loss, self.carried, self.judged_tokens = loss, carried, judged_tokens
        self.vocab_size = len(card.classes("tokens"))

    def counts(self, batch: Batch, context: StepContext) -> dict[str, Tensor | float]:
        """One term, `loss`, over the number of target tokens, B * T."""
        return {"loss": float(_targets(batch).numel())}

    def losses(self, networks: Networks, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Sum of the loss over the target tokens.

        Raises:
            UserError: the state is to be carried and the model has none.
        """
        rows = len(batch["tokens"])
        # A short last batch holds the first rows of the batches before it.
        before = {name: value[:rows] for name, value in context.carry.items()}
        logits, after = _logits(networks["model"], batch, before)
        if self.carried:
            if not after:
                raise UserError("task.carried needs a model that returns a state", received="logits alone", mend="set task.carried=false")
            context.carry.update({name: value.detach() for name, value in after.items()})
        return {"loss": self.loss(logits.flatten(0, 1), _targets(batch).flatten()).sum()}

    def predict(self, networks: Networks, batch: Batch) -> dict[str, Tensor]:
        """Return `nats (B, S)` of each judged token, `losses (B,)`, their mean, and `predictions (B, S)` int64; each row starts from the state zero.

        These are nats of the model's own probabilities even where the loss smooths its targets, for perplexity means nothing else.
        """
        logits, _ = _logits(networks["model"], batch, {})
        logits, targets = logits[:, self._judged], _targets(batch)[:, self._judged]
        nats = cross_entropy(logits.flatten(0, 1), targets.flatten()).reshape(logits.shape[:2])
        return {"nats": nats, "losses": nats.mean(dim=1), "predictions": logits.argmax(dim=2)}

    @property
    def _judged(self) -> slice:
        return slice(None if self.judged_tokens is None else -self.judged_tokens, None)

    def metrics(self) -> Metric:
        """Nats and bits per token, perplexity and accuracy."""
        return NextTokenMetric(self.vocab_size)

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses `(B,)`; nats, targets and predictions `(B, S)` of the judged tokens."""
        targets = _targets(batch)[:, self._judged]
        return {"sample_id": batch["sample_id"], "targets": targets, **{name: outputs[name] for name in ("losses", "nats", "predictions")}}

    def gallery(self, networks: Networks, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Continue the beginning of the first row in each way of `SAMPLINGS` (S of them).

        Returns:
            `prompt (P,)` and `continuations (S, L)` int64; `temperature`, `top_k` (0: all) and `top_p`, `(S,)` each.
        """
        prompt = batch["tokens"][:1, :PROMPT_TOKENS].long().expand(len(SAMPLINGS), -1)
        uniforms = draws.uniform("sampled tokens", len(SAMPLINGS), SAMPLED_TOKENS)[0]
        found = generate(networks["model"], prompt, uniforms, _each_its_own, context=batch["tokens"].shape[1] - 1)
        return {
            "prompt": prompt[0],
            "continuations": found,
            "temperature": torch.tensor([way.temperature for way in SAMPLINGS]),
            "top_k": torch.tensor([way.top_k or 0 for way in SAMPLINGS]),
            "top_p": torch.tensor([way.top_p for way in SAMPLINGS]),
        }


def _each_its_own(logits: Tensor) -> Tensor:
    """(S, V) -> (S, V): the probabilities of each way of sampling."""
    return torch.stack([way.probabilities(row) for way, row in zip(SAMPLINGS, logits, strict=True)])


def _targets(batch: Batch) -> Tensor:
    """(B, T) int64."""
    return batch["tokens"][:, 1:].long()


def _logits(model: nn.Module, batch: Batch, state: State) -> tuple[Tensor, State]:
    """Return logits (B, T, V) and the state after the row; a model without a state has an empty one."""
    inputs = batch["tokens"][:, :-1].long()
    found = model(inputs, state) if state else model(inputs)
    return found if isinstance(found, tuple) else (found, {})
