"""Next-token prediction: each token of a row from those before it."""

from __future__ import annotations

from torch import Tensor, nn

from components.data.card import Card
from components.errors import UserError
from components.losses.classification import cross_entropy
from components.metrics.base import Metric
from components.metrics.language import NextToken as NextTokenMetric
from components.tasks.base import Batch, Networks, StepContext, Task

State = dict[str, Tensor]


class NextToken(Task):
    """Batches hold `tokens (B, T + 1)` of any integer type: all but the last are inputs, all but the first are targets.

    The model maps tokens `(B, T)` to logits `(B, T, V)`, or tokens and a state to `(logits, state)`; a state is a dict of tensors `(B, ...)`.

    Args:
        loss: module `(logits (N, V), targets (N,)) -> (N,)`.
        card: the data set's card; the classes of its `tokens` column are the vocabulary.
        carried: the state after a step is where the next one starts, without gradients (truncated backpropagation through time, Williams
            and Peng 1990; notes 002 L3500). The order of the data must be contiguous.
    """

    def __init__(self, loss: nn.Module, card: Card, carried: bool = False) -> None:
        self.loss, self.carried = loss, carried
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
        """Return `losses (B,)`, mean nats per token of the row, and `predictions (B, T)` int64; each row starts from the state zero.

        These are nats of the model's own probabilities even where the loss smooths its targets, for perplexity means nothing else.
        """
        logits, _ = _logits(networks["model"], batch, {})
        nats = cross_entropy(logits.flatten(0, 1), _targets(batch).flatten()).reshape(logits.shape[:2])
        return {"losses": nats.mean(dim=1), "predictions": logits.argmax(dim=2)}

    def metrics(self) -> Metric:
        """Nats and bits per token, perplexity and accuracy."""
        return NextTokenMetric(self.vocab_size)

    def samples(self, batch: Batch, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses `(B,)`, targets and predictions `(B, T)`."""
        return {"sample_id": batch["sample_id"], "losses": outputs["losses"], "targets": _targets(batch), "predictions": outputs["predictions"]}


def _targets(batch: Batch) -> Tensor:
    """(B, T) int64."""
    return batch["tokens"][:, 1:].long()


def _logits(model: nn.Module, batch: Batch, state: State) -> tuple[Tensor, State]:
    """Return logits (B, T, V) and the state after the row; a model without a state has an empty one."""
    inputs = batch["tokens"][:, :-1].long()
    found = model(inputs, state) if state else model(inputs)
    return found if isinstance(found, tuple) else (found, {})
