"""A text file as rows of tokens: characters, bytes or words, for language models (notes 002 M9, M41)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from components.data.card import Column
from components.data.columns import Array, Columns, SourceData
from components.errors import UserError

UNKNOWN = "<unk>"
# A word with the blank before it, punctuation likewise, or one other blank: nothing is lost, as with GPT-2's pieces (Radford et al. 2019).
_PIECE = re.compile(r" ?\w+| ?[^\w\s]+|\s")
_SMALLEST_DTYPES = ((2**8, np.uint8), (2**15, np.int16), (2**31, np.int32))

Tokens = npt.NDArray[np.integer]


def read_text(
    raw: Path, file: str, unit: Literal["char", "byte", "word"], block: int, validation_fraction: float, test_fraction: float, minimum_count: int = 1
) -> SourceData:
    """Cut a text in three, first training, then validation, then test, and each part into overlapping rows.

    Row i holds the 2 block tokens from place `i * block`. So each run of block + 1 tokens (a window: what a model with a context of
    `block` learns from) lies in one row, and the first windows of all rows predict every token of the part once, but for the first token and
    the tail that fills no row. No row crosses into another part. See components/data/windows.py.

    Args:
        raw: holds the file.
        file: its name.
        unit: `char` (of UTF-8), `byte`, or `word` (words with the blank before them, punctuation, line ends).
        block: in tokens.
        validation_fraction: of the tokens.
        test_fraction: of the tokens, the last ones.
        minimum_count: what comes less often in the training part is `<unk>`, and so is what comes in the others alone.

    Returns:
        `tokens`, `(2 block,)` of the smallest integer type. Its classes are the vocabulary, in the order of code points; a class's name is its
        text, so that joined names are the text again (bytes from 128 on are named as `\\xe9`).

    Raises:
        UserError: no such file, no UTF-8, a part that is too short, or a token that the training part does not have and no `<unk>` for it.
    """
    values, places = np.unique(_units(_read(raw, file), unit), return_inverse=True)
    count = len(places)
    ends = {"train": int(count * (1 - validation_fraction - test_fraction)), "validation": int(count * (1 - test_fraction)), "test": count}
    kept = np.bincount(places[: ends["train"]], minlength=len(values)) >= minimum_count
    names = [_name(value, unit) for value in values[kept]]
    tokens = np.where(kept, np.cumsum(kept) - 1, len(names))[places]
    if (tokens[: ends["train"]] == len(names)).any():
        names.append(UNKNOWN)
    elif (tokens == len(names)).any():
        new = [_name(value, unit) for value in values[~kept]]
        raise UserError(
            f"{len(new)} kinds of token come in validation or test alone", received=new[:10], mend="raise minimum_count until rare tokens are <unk>"
        )
    dtype = next(dtype for most, dtype in _SMALLEST_DTYPES if len(names) <= most)
    starts = dict(zip(ends, (0, *ends.values()), strict=False))
    splits: dict[str, Columns] = {name: {"tokens": _rows(tokens[starts[name] : ends[name]].astype(dtype), block, name)} for name in ends}
    return SourceData({"tokens": Column(np.dtype(dtype).name, (2 * block,), classes=tuple(names))}, splits)


def _read(raw: Path, file: str) -> bytes:
    try:
        return (raw / file).read_bytes()
    except FileNotFoundError as error:
        raise UserError("the raw data hold no such file", received=file, expected=sorted(p.name for p in raw.iterdir())) from error


def _units(content: bytes, unit: str) -> Array:
    """Return the text's units in order, `(n,)`: code points, bytes or strings."""
    if unit == "byte":
        return np.frombuffer(content, np.uint8)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"the text is no UTF-8: {error}", mend="convert it, or choose unit: byte") from error
    return np.frombuffer(text.encode("utf-32-le"), "<u4") if unit == "char" else np.array(_PIECE.findall(text))


def _name(value: np.generic, unit: str) -> str:
    if unit == "word":
        return str(value)
    code = int(value)  # type: ignore[call-overload]
    return f"\\x{code:02x}" if unit == "byte" and code >= 128 else chr(code)


def _rows(part: Tokens, block: int, name: str) -> Tokens:
    """`(n,) -> (rows, 2 block)`."""
    if len(part) < 2 * block:
        raise UserError(f"the {name} part is too short for one row", received=f"{len(part)} tokens", expected=f"at least 2 block = {2 * block}")
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(part, 2 * block)[::block])
