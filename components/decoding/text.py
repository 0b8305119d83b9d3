"""Token numbers back to text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from components.data.sources.parallel import BOS, EOS, PAD, SPACE, SPECIAL, UNKNOWN


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

    Words and marks of a word vocabulary all begin with a blank, so "a dog ." it is there; BLEU's tokenizer makes no difference of it.
    """
    joined = "".join(f"{SPACE}{piece}" if piece == SPECIAL[UNKNOWN] else piece for piece in pieces(tokens, vocabulary))
    return joined.replace(SPACE, " ").strip()
