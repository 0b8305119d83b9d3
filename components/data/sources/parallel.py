"""Sentences and their translations, one a line in two files (Elliott et al. 2016, "Multi30K: Multilingual English-German image descriptions").

Legend: N sentence pairs, V tokens of a vocabulary.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from components.data.card import Column
from components.data.columns import Columns, Ragged, SourceData
from components.errors import UserError

PAD, BOS, EOS, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")  # the first classes of every vocabulary
SPACE = "\u2581"  # stands for the blank before a word: joined pieces with it replaced are the text again (Kudo and Richardson 2018, "SentencePiece")

_FILES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
_WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")  # hyphens and apostrophes inside a word belong to it

Encoder = Callable[[str], list[int]]


def read_parallel(raw: Path, source: str, target: str, tokens: Literal["word", "subword"], vocabulary_size: int, max_tokens: int) -> SourceData:
    """Read `<split>.<language>` for train, val and test_2016_flickr; vocabularies are made of the training split only.

    Sentences are in lower case, as is usual for this set. `subword` is byte-pair encoding (Sennrich et al. 2016), one vocabulary for both
    languages; `word` has the most frequent words and punctuation marks of each language, the rest is unknown.

    Args:
        raw: the folder of text files, UTF-8, line i of one language the translation of line i of the other.
        source: the language to translate from, the file's suffix ("de").
        target: the language to translate into.
        tokens: what a sentence is cut into.
        vocabulary_size: V, the same for both columns, four special tokens included.
        max_tokens: longer sentences are left out of the training split; of the other splits they are cut (the reference is not).

    Returns:
        Ragged `source` int32 (tokens, end) and `target` int32 (begin, tokens, end), both with the vocabulary as classes, and
        `reference` uint8: the target sentence as it was written, UTF-8.

    Raises:
        UserError: the two files differ in length, or the text has fewer than V different tokens.
    """
    texts = {split: (_lines(raw / f"{stem}.{source}"), _lines(raw / f"{stem}.{target}")) for split, stem in _FILES.items()}
    for split, (first, second) in texts.items():
        if len(first) != len(second):
            raise UserError(f"the two languages of '{split}' differ in length", received=f"{len(first)} and {len(second)} lines")
    vocabularies, encoders = _subwords(texts["train"], vocabulary_size) if tokens == "subword" else _words(texts["train"], vocabulary_size)
    classes = {name: tuple(vocabulary) for name, vocabulary in zip(("source", "target"), vocabularies, strict=True)}
    columns = {name: Column("int32", ragged=True, classes=names) for name, names in classes.items()}
    splits = {split: _split(pair, encoders, max_tokens, drop=split == "train") for split, pair in texts.items()}
    return SourceData({**columns, "reference": Column("uint8", ragged=True)}, splits)


def clean(line: str) -> str:
    """Return a sentence in lower case, in Unicode's composed form, with single blanks."""
    return " ".join(unicodedata.normalize("NFC", line).lower().split())


def pieces(tokens: Iterable[int], vocabulary: Sequence[str]) -> list[str]:
    """Return the pieces of a sentence up to its end, without begin and padding."""
    found = []
    for token in tokens:
        if token == EOS:
            break
        if token not in (PAD, BOS):
            found.append(vocabulary[token])
    return found


def text(tokens: Iterable[int], vocabulary: Sequence[str]) -> str:
    """Return a sentence as text: pieces joined, a blank where a word begins; an unknown word stands for itself, `<unk>`.

    Words and marks of a word vocabulary all begin with a blank, "a dog ."; BLEU's tokenizer makes no difference of it.
    """
    joined = "".join(f"{SPACE}{piece}" if piece == SPECIAL[UNKNOWN] else piece for piece in pieces(tokens, vocabulary))
    return joined.replace(SPACE, " ").strip()


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]


def _split(pair: tuple[list[str], list[str]], encoders: Sequence[Encoder], max_tokens: int, drop: bool) -> Columns:
    sources = [[*encoders[0](clean(line)), EOS] for line in pair[0]]
    targets = [[BOS, *encoders[1](clean(line)), EOS] for line in pair[1]]
    references = [list(line.encode()) for line in pair[1]]
    rows = [i for i in range(len(sources)) if not drop or max(len(sources[i]), len(targets[i]) - 1) <= max_tokens]
    return {
        "source": ragged([_cut(sources[i], max_tokens) for i in rows], np.int32),
        "target": ragged([_cut(targets[i], max_tokens + 1) for i in rows], np.int32),
        "reference": ragged([references[i] for i in rows], np.uint8),
    }


def _cut(tokens: list[int], length: int) -> list[int]:
    return tokens if len(tokens) <= length else [*tokens[: length - 1], EOS]


def ragged(rows: Sequence[Sequence[int]], dtype: type[np.generic]) -> Ragged:
    """Return rows of numbers as a column."""
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Ragged(np.array([value for row in rows for value in row], dtype=dtype), offsets)


def _words(texts: tuple[list[str], list[str]], size: int) -> tuple[list[list[str]], list[Encoder]]:
    vocabularies = [_frequent_words(lines, size) for lines in texts]
    return vocabularies, [_word_encoder(vocabulary) for vocabulary in vocabularies]


def _frequent_words(lines: list[str], size: int) -> list[str]:
    counts = Counter(word for line in lines for word in _WORD.findall(clean(line)))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))[: size - len(SPECIAL)]
    _require_size(len(ranked) + len(SPECIAL), size)
    return [*SPECIAL, *(SPACE + word for word in ranked)]


def _word_encoder(vocabulary: list[str]) -> Encoder:
    numbers = {word.removeprefix(SPACE): i for i, word in enumerate(vocabulary)}
    return lambda line: [numbers.get(word, UNKNOWN) for word in _WORD.findall(line)]


def _subwords(texts: tuple[list[str], list[str]], size: int) -> tuple[list[list[str]], list[Encoder]]:
    """Pieces never reach over a blank or a punctuation mark. The same text gives the same pieces: ties go by the pieces' numbers."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[UNKNOWN]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(SPACE, "always"), pre_tokenizers.Punctuation("isolated")])
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(SPECIAL), show_progress=False)
    tokenizer.train_from_iterator([clean(line) for lines in texts for line in lines], trainer)
    _require_size(tokenizer.get_vocab_size(), size)
    numbers = tokenizer.get_vocab()
    vocabulary = sorted(numbers, key=numbers.__getitem__)

    def encode(line: str) -> list[int]:
        ids: list[int] = tokenizer.encode(line, add_special_tokens=False).ids
        return ids

    return [vocabulary, vocabulary], [encode, encode]


def _require_size(found: int, size: int) -> None:
    if found != size:
        raise UserError("the text does not give a vocabulary of that size", received=f"vocabulary_size={size}", expected=f"at most {found}")
