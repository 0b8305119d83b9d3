"""Translation: sentences beside their references, and what the model looks at when it writes a word."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from components.data.sources.parallel import EOS, SPACE, SPECIAL, pieces, text
from components.reporting.images import png
from components.reporting.run import Plain, Run
from components.reporting.sections.base import Section

SHOWN = 20
_CELL, _LABEL, _FONT = 22, 96, 13  # pixels
_INK, _BLUE = (28, 28, 32), np.array((47, 107, 216), dtype=np.float64)


def translation(run: Run) -> Section | None:
    """Return sources, references and both decodings of some sentences, matches of word sequences, and alignments."""
    if not {"greedy", "beam", "reference", "reference.offsets", "source.offsets"} <= run.samples.keys():
        return None
    scores = run.metrics.get(run.judged_split) or {}
    alignments = _alignments(run) if "alignment.weights" in run.gallery else []
    figures = [{"title": "Alignment: each row a written token, dark where it looks", "pictures": alignments}] if alignments else []
    return Section(
        "translation",
        "Translations",
        {
            "intro": f"BLEU was counted by sacreBLEU: {scores.get('signature', 'unknown')}. Below, the sentences with the smallest loss come first.",
            "tables": [_precisions(scores), _sentences(run)],
            "figures": figures,
        },
        template="figures",
    )


def _precisions(scores: Plain) -> dict[str, Any]:
    rows = [[row["order"], row["greedy"], row["beam"]] for row in scores.get("precisions") or []]
    return {"title": "Word sequences that also stand in the reference, percent", "columns": ["Words", "Greedy", "Beam"], "rows": rows}


def _sentences(run: Run) -> dict[str, Any]:
    samples, (source, target) = run.samples, _vocabularies(run)
    order = np.lexsort((samples["sample_id"], samples["losses"]))
    rows = [
        [
            str(samples["sample_id"][i]),
            text(_row(samples, "source", i), source),
            bytes(_row(samples, "reference", i)).decode("utf-8", errors="replace"),
            text(samples["greedy"][i].tolist(), target),
            text(samples["beam"][i].tolist(), target),
            float(samples["losses"][i]),
        ]
        for i in order[np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int)]
    ]
    return {"title": "Sentences", "columns": ["Row", "Source", "Reference", "Greedy", "Beam", "Nats a token"], "rows": rows}


def _row(samples: dict[str, np.ndarray], column: str, i: int) -> list[int]:
    offsets = samples[f"{column}.offsets"]
    values: list[int] = samples[column][offsets[i] : offsets[i + 1]].tolist()
    return values


def _vocabularies(run: Run) -> tuple[list[str], list[str]]:
    columns = run.card["columns"]
    return columns["source"]["classes"], columns["target"]["classes"]


def _alignments(run: Run) -> list[dict[str, str]]:
    gallery, (source, target) = run.gallery, _vocabularies(run)
    pictures = []
    for i, weights in enumerate(gallery["alignment.weights"]):
        read, written = (_labels(gallery[f"alignment.{side}"][i].tolist(), words) for side, words in (("source", source), ("target", target)))
        pixels = alignment_picture(weights[: len(written), : len(read)], read, written)
        pictures.append({"address": png(pixels), "caption": text(gallery["alignment.target"][i].tolist(), target)})
    return pictures


def _labels(tokens: list[int], vocabulary: list[str]) -> list[str]:
    """The pieces of a sentence and its end; a hyphen stands before a piece that goes on with a word."""
    marked = [piece.removeprefix(SPACE) if piece.startswith((SPACE, "<")) else f"-{piece}" for piece in pieces(tokens, vocabulary)]
    return [*marked, SPECIAL[EOS]] if EOS in tokens else marked


def alignment_picture(weights: np.ndarray, columns: list[str], rows: list[str]) -> np.ndarray:
    """Draw a matrix of values in [0, 1] with its labels, `(R, C) -> (H, W, 3)` uint8: white is 0, blue is 1."""
    from PIL import Image, ImageDraw, ImageFont

    shares = np.clip(np.nan_to_num(weights.astype(np.float64)), 0, 1)[..., None]
    cells = np.round(255 + shares * (_BLUE - 255)).astype(np.uint8).repeat(_CELL, axis=0).repeat(_CELL, axis=1)
    page = Image.new("RGB", (_LABEL + cells.shape[1], _LABEL + cells.shape[0]), (255, 255, 255))
    page.paste(Image.fromarray(cells), (_LABEL, _LABEL))
    font = ImageFont.truetype(_font_file(), _FONT)
    across = Image.new("RGB", (_LABEL, cells.shape[1]), (255, 255, 255))  # the columns' labels, written as rows and turned
    for image, labels, top in ((page, rows, _LABEL), (across, columns, 0)):
        pen = ImageDraw.Draw(image)
        for i, label in enumerate(labels):
            x = _LABEL - 6 if image is page else 6
            pen.text((x, top + _CELL * i + _CELL // 2), label, fill=_INK, font=font, anchor="rm" if image is page else "lm")
    page.paste(across.transpose(Image.Transpose.ROTATE_90), (_LABEL, 0))
    return np.asarray(page)


def _font_file() -> str:
    """DejaVu Sans, which comes with matplotlib; Pillow's own font has no umlauts. matplotlib is found, not imported: that takes a second."""
    package = importlib.util.find_spec("matplotlib")
    assert package is not None and package.origin is not None
    return str(Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")
