"""A few sentence pairs in the files of Multi30k: a grammar of four nouns, four verbs and four places, word by word."""

from __future__ import annotations

import itertools
from pathlib import Path

_NOUNS = {"hund": "dog", "mann": "man", "junge": "boy", "vogel": "bird"}
_VERBS = {"läuft": "runs", "springt": "jumps", "schläft": "sleeps", "spielt": "plays"}
_PLACES = {"draußen": "outside", "im wasser": "in the water", "auf der straße": "on the street", "im park": "in the park"}
_ROWS = {"train": 24, "val": 12, "test_2016_flickr": 12}

PREPARE: dict[str, object] = {"vocabulary_size": 100, "max_tokens": 16}
_SIZES = ["model.layers=1", "model.heads=2", "model.hidden_dim=16", "model.feedforward_dim=32", "model.max_tokens=16", "task.max_tokens=16"]
EXPERIMENT = {
    name: ["~schedule.warmup", *_SIZES, f"model.vocab_size={size}"]
    for name, size in (("language/transformer", 100), ("language/transformer_full", 100), ("language/transformer_words", 20))
}


def write(raw: Path) -> None:
    """Write 24, 12 and 12 pairs."""
    pairs = [
        (f"Ein {noun} {verb} {place}.", f"A {_NOUNS[noun]} {_VERBS[verb]} {_PLACES[place]}.")
        for noun, verb, place in itertools.product(_NOUNS, _VERBS, _PLACES)
    ]
    spread = [pairs[(29 * i) % len(pairs)] for i in range(len(pairs))]
    for stem, rows in _ROWS.items():
        part, spread = spread[:rows], spread[rows:]
        for language, lines in zip(("de", "en"), zip(*part, strict=True), strict=True):
            (raw / f"{stem}.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
