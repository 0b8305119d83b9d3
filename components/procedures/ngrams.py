"""Fitting n-grams: one pass over the training rows that counts."""

from __future__ import annotations

from components.errors import UserError
from components.models.language.ngram import NGram
from components.training.procedure import Procedure, Work
from components.training.session import sum_over_ranks


class CountNGrams(Procedure):
    """Count every n-gram of the training text once. Counts are integers, so any number of workers gives the same ones.

    Args:
        block: rows start every `block` tokens, so the last `block` of each row are counted (components/data/sources/text.py).
        batch_size: rows that are counted at once.
    """

    def __init__(self, block: int, batch_size: int = 1024) -> None:
        self.block, self.batch_size = block, batch_size

    def fit(self, work: Work) -> None:
        """Fill the model's counts.

        Raises:
            UserError: the model has none.
        """
        model, session = work.model, work.place.session
        if not isinstance(model, NGram):
            mend = "choose components.models.language.ngram.NGram"
            raise UserError("only an n-gram model can be counted", received=type(model).__name__, mend=mend)
        for batch, counts in work.training.evaluation(self.batch_size):
            if counts:
                model.count(batch["tokens"].long(), self.block)
        model.counts.copy_(sum_over_ranks(session, model.counts.clone()))
        work.log(tokens=float(model.counts.sum()))
