"""A text of the real one's 65 characters, in an order that repeats: something can be learned from it."""

from __future__ import annotations

from pathlib import Path

CHARACTERS = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREPARE = {"block": 4, "validation_fraction": 0.25, "test_fraction": 0.25}
_BLOCK = "data.prepare.block=4"  # here too: models and windows read it from there
EXPERIMENT = {
    "language/gpt": [_BLOCK, "model.layers=1", "model.heads=2", "model.hidden_dim=16"],
    "language/gpt_full": [_BLOCK, "model.layers=1", "model.heads=2", "model.hidden_dim=16"],
    "language/char_rnn": [_BLOCK, "model.embedding_dim=8", "model.hidden_dim=16"],
    "language/ngram": [_BLOCK, "model.order=2"],
}


def write(raw: Path) -> None:
    """Write 390 characters: the alphabet forwards and backwards, thrice."""
    (raw / "input.txt").write_text(3 * (CHARACTERS + CHARACTERS[::-1]), encoding="utf-8")
