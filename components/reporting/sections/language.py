"""Language models: bits beside those of simple models, sampled text, and where in a text the nats fall."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from components.reporting.images import png
from components.reporting.run import Run
from components.reporting.sections.base import Section

_SIDE_TOKENS, _CELL_PIXELS, _LINE_PIXELS, _FONT_PIXELS = 64, 14, 22, 14
_FULL_NATS = 6.0  # and more: the fullest colour
_PAPER, _HOT, _INK = np.array([255, 255, 255]), np.array([226, 88, 62]), (24, 24, 28)


def language(run: Run) -> Section | None:
    """Return scores, sampled texts and the nats of single tokens: of the row of least, median and greatest loss among the samples."""
    tokens: dict[str, Any] = (run.card.get("columns") or {}).get("tokens") or {}
    samples, names = run.samples, tokens.get("classes")
    if not names or not {"nats", "targets", "losses", "sample_id"} <= samples.keys() or samples["nats"].ndim != 2:
        return None
    order = np.lexsort((samples["sample_id"], samples["losses"]))
    shown = [("Least loss", order[0]), ("Median loss", order[len(order) // 2]), ("Greatest loss", order[-1])]
    pictures = [{"address": _heat(samples["targets"][i], samples["nats"][i], names), "caption": _caption(run, i, title)} for title, i in shown]
    intro = (
        f"Each token's nats, -ln of the probability that the model gave it, in some rows of {run.judged_split or 'the data'}: "
        f"white is 0, full colour {_FULL_NATS:g} and more. » is a line end."
    )
    context = {
        "intro": intro,
        "figures": [{"title": "Surprise", "pictures": pictures}],
        "tables": _tables(run, names),
        "texts": _texts(run, names),
    }
    return Section("language", "Language", context, template="figures")


def _tables(run: Run, names: list[str]) -> list[dict[str, Any]]:
    scores = run.metrics.get(run.judged_split) or {}
    if "bits_per_token" not in scores:
        return []
    unit = "character" if all(len(name) == 1 for name in names) else "token"
    rows = [("this model", scores["bits_per_token"])]
    baselines = {"bigram_bits": "entropy of a token given the one before", "unigram_bits": "entropy of single tokens"}
    rows += [(title, scores[key]) for key, title in baselines.items() if key in scores]
    rows.append((f"knows nothing of {len(names)} tokens", math.log2(len(names))))
    columns = ["", f"bits per {unit}", "nats", "perplexity"]
    return [{"title": f"Bits on {run.judged_split}", "columns": columns, "rows": [[title, b, b * math.log(2), 2**b] for title, b in rows]}]


def _texts(run: Run, names: list[str]) -> list[dict[str, str]]:
    gallery = run.gallery
    if not {"prompt", "continuations", "temperature", "top_k", "top_p"} <= gallery.keys():
        return []
    texts = [{"title": "Prompt, of the evaluated text", "text": _text(gallery["prompt"], names)}]
    ways = zip(gallery["continuations"], gallery["temperature"], gallery["top_k"], gallery["top_p"], strict=True)
    return texts + [{"title": f"Continued: {_way(*way)}", "text": _text(row, names)} for row, *way in ways]


def _way(temperature: float, top_k: int, top_p: float) -> str:
    if temperature == 0:
        return "the likeliest token each time"
    return f"temperature {temperature:g}" + (f", top {top_k}" if top_k else "") + (f", top {top_p:.0%} of probability" if top_p < 1 else "")


def _text(tokens: np.ndarray, names: list[str]) -> str:
    return "".join(names[int(token)] for token in tokens)


def _caption(run: Run, i: int, title: str) -> str:
    return f"{title}: row {int(run.samples['sample_id'][i])}, {float(run.samples['losses'][i]):.3f} nats per token"


def _heat(tokens: np.ndarray, nats: np.ndarray, names: list[str]) -> str:
    """Draw a row's tokens, each on a cell whose colour says its nats."""
    font = ImageFont.load_default(_FONT_PIXELS)
    texts = [names[int(token)].replace("\n", "»") for token in tokens]
    widths = [max(_CELL_PIXELS, math.ceil(font.getlength(text)) + 1) for text in texts]
    places, width = _flow(widths, _SIDE_TOKENS * _CELL_PIXELS)
    picture = Image.new("RGB", (width, (places[-1][1] + 1) * _LINE_PIXELS), tuple(_PAPER))
    pen = ImageDraw.Draw(picture)
    for text, size, value, (left, line) in zip(texts, widths, nats, places, strict=True):
        share = min(max(float(value), 0.0) / _FULL_NATS, 1.0)
        colour = tuple(int(c) for c in np.round(_PAPER + share * (_HOT - _PAPER)))
        top = line * _LINE_PIXELS
        pen.rectangle((left, top, left + size - 1, top + _LINE_PIXELS - 2), fill=colour)
        pen.text((left + size / 2, top + _LINE_PIXELS / 2 - 1), text, fill=_INK, font=font, anchor="mm")
    return png(np.asarray(picture))


def _flow(widths: list[int], most: int) -> tuple[list[tuple[int, int]], int]:
    """Set cells of these widths in lines: each one's left edge and line, and the width of all, in pixels."""
    places, left, line, widest = [], 0, 0, 0
    for size in widths:
        if left and left + size > most:
            left, line = 0, line + 1
        places.append((left, line))
        left += size
        widest = max(widest, left)
    return places, widest
