"""sheet.png: samples of a data set with their class names, to be looked at before anything is trained."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from components.data.card import Card
from components.data.columns import Array, Ragged
from components.data.dataset import ShardDataset

_CELL_PIXELS, _GAP_PIXELS, _CAPTION_PIXELS, _MARGIN_PIXELS, _HEADING_PIXELS = 96, 12, 22, 24, 74
_INK, _FAINT, _PAPER = (28, 28, 32), (110, 110, 118), (255, 255, 255)
_LOOKED_AT = 20_000  # rows, from the front: enough to meet every class without reading a large split


def draw_sheet(dataset: ShardDataset, rows: int, columns: int) -> Image.Image:
    """Draw `rows * columns` samples of a split, dealt over the classes in turn, each with its class name beneath.

    The first column of images `(C, H, W)`, C = 1 or 3, is drawn, scaled by the range of the drawn values, and the first column
    of classes names the samples. A data set without images gets the heading alone.
    """
    card = dataset.card
    image_column = next((n for n, c in sorted(card.columns.items()) if len(c.shape) == 3 and c.shape[0] in (1, 3) and not c.ragged), None)
    label_column = next((n for n, c in sorted(card.columns.items()) if c.classes is not None and c.shape == () and not c.ragged), None)
    step_x, step_y = _CELL_PIXELS + _GAP_PIXELS, _CELL_PIXELS + _CAPTION_PIXELS + _GAP_PIXELS
    if image_column is None:
        rows = 0
    size = (max(720, 2 * _MARGIN_PIXELS + columns * step_x - _GAP_PIXELS), _HEADING_PIXELS + rows * step_y + _MARGIN_PIXELS)
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    _heading(pen, dataset)
    if image_column is None:
        return sheet
    chosen = _choose(dataset, label_column, rows * columns)
    found = dataset.columns(chosen)
    images, labels = found[image_column], found[label_column] if label_column else None
    assert not isinstance(images, Ragged) and not isinstance(labels, Ragged)
    pictures = _grey(images)
    for place in range(len(chosen)):
        x, y = _MARGIN_PIXELS + place % columns * step_x, _HEADING_PIXELS + place // columns * step_y
        sheet.paste(_picture(pictures[place]), (x, y))
        pen.rectangle((x - 1, y - 1, x + _CELL_PIXELS, y + _CELL_PIXELS), outline=(200, 200, 206))
        caption = f"row {chosen[place]}" if labels is None else _class_name(card, label_column, int(labels[place]))
        _caption(pen, caption, x, y + _CELL_PIXELS + 3)
    return sheet


def _heading(pen: ImageDraw.ImageDraw, dataset: ShardDataset) -> None:
    card = dataset.card
    pen.text((_MARGIN_PIXELS, 14), card.title, fill=_INK, font=ImageFont.load_default(22))
    counts = ", ".join(f"{split.rows:,} {name}" for name, split in card.splits.items())
    detail = f"{counts} rows; samples of {dataset.split}; version {card.content_sha256[:12]}; {card.licence}"
    pen.text((_MARGIN_PIXELS, 44), detail, fill=_FAINT, font=ImageFont.load_default(13))


def _choose(dataset: ShardDataset, label_column: str | None, count: int) -> Array:
    """Return row numbers that take the classes in turn, each class's first rows; without classes the first rows."""
    candidates = np.arange(min(dataset.rows, _LOOKED_AT))
    if label_column is None or len(candidates) == 0:
        return candidates[:count]
    labels = dataset.columns(candidates)[label_column]
    assert not isinstance(labels, Ragged)
    # The n-th row of its class comes in the n-th round; within a round the classes are in order.
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order], side="left")
    rounds = np.empty_like(order)
    rounds[order] = np.arange(len(order)) - starts
    return candidates[np.lexsort((labels, rounds))][:count]


def _grey(images: Array) -> Array:
    """Scale images to bytes by their common range."""
    values = np.nan_to_num(images.astype(np.float64), posinf=0.0, neginf=0.0)  # data with a fault are drawn too
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    return ((values - low) / ((high - low) or 1.0) * 255).round().astype(np.uint8)


def _picture(image: Array) -> Image.Image:
    picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).convert("RGB")
    resampling = Image.Resampling.NEAREST if max(picture.size) <= _CELL_PIXELS else Image.Resampling.LANCZOS
    return picture.resize((_CELL_PIXELS, _CELL_PIXELS), resampling)


def _class_name(card: Card, column: str | None, label: int) -> str:
    names = card.classes(column or "")
    return names[label] if 0 <= label < len(names) else f"label {label}?"


def _caption(pen: ImageDraw.ImageDraw, text: str, x: int, y: int) -> None:
    font = ImageFont.load_default(14)
    while len(text) > 1 and pen.textlength(text, font=font) > _CELL_PIXELS + _GAP_PIXELS - 4:
        text = text.rstrip("…")[:-1] + "…"
    pen.text((x + _CELL_PIXELS / 2, y), text, fill=_INK, font=font, anchor="ma")
