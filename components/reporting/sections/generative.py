"""What a generative model makes: sheets of samples, interpolations, the latent plane, reconstructions."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.reporting.images import png, thumbnails
from components.reporting.run import Run
from components.reporting.sections.base import Section

_COLUMNS = 16  # of a sheet
_GAP = 2  # pixels between images
_GREY = 128
_SHEET_PIXELS = 1000  # a sheet is enlarged by whole numbers up to about this width
_PAIRS = 12
_CAPTIONS = {
    "generated": ("Generated", "decoded draws of the prior, not chosen"),
    "interpolations": ("Interpolations", "each row on a straight line between two points of the latent space, its ends at the left and right"),
    "manifold": ("Latent plane", "the quantiles of the prior on both axes"),
}


def generative(run: Run) -> Section | None:
    """Return the sheets of the gallery (8-bit images `(N, C, H, W)` or `(rows, columns, C, H, W)`) and, of an autoencoder, inputs beside what it
    made of them, greatest loss first."""
    figures = [_sheet(run.gallery[name], *_CAPTIONS[name]) for name in _CAPTIONS if _are_images(run.gallery.get(name))]
    if not figures:
        return None
    figures += _reconstructions(run.samples)
    return Section("generative", "Generated samples", {"figures": figures}, template="figures")


def _are_images(array: np.ndarray | None) -> bool:
    return array is not None and array.size > 0 and array.dtype == np.uint8 and array.ndim in (4, 5) and array.shape[-3] in (1, 3)


def _sheet(images: np.ndarray, title: str, caption: str) -> dict[str, Any]:
    grid = images if images.ndim == 5 else _rows(images)
    pixels = tiled(grid)
    scale = max(1, _SHEET_PIXELS // pixels.shape[1] if images.shape[-1] < 64 else 1)
    return {"title": title, "pictures": [{"address": png(pixels, scale), "caption": caption}]}


def _rows(images: np.ndarray) -> np.ndarray:
    """(N, C, H, W) -> (rows, 16, C, H, W), the last row filled up with grey."""
    columns = min(_COLUMNS, len(images))
    missing = -len(images) % columns
    filled = np.concatenate([images, np.full((missing, *images.shape[1:]), _GREY, np.uint8)])
    return filled.reshape(-1, columns, *images.shape[1:])


def tiled(grid: np.ndarray) -> np.ndarray:
    """Lay images out side by side with grey between them.

    (R, K, C, H, W) uint8 -> (R (H + gap) - gap, K (W + gap) - gap), and an axis of 3 at the end for colour
    """
    rows, columns, channels, height, width = grid.shape
    framed = np.full((rows, columns, channels, height + _GAP, width + _GAP), _GREY, np.uint8)
    framed[..., :height, :width] = grid
    sheet = framed.transpose(0, 3, 1, 4, 2).reshape(rows * (height + _GAP), columns * (width + _GAP), channels)
    sheet = sheet[:-_GAP, :-_GAP]
    return np.ascontiguousarray(sheet[..., 0] if channels == 1 else sheet)


def _reconstructions(samples: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    if not {"inputs", "reconstructions", "losses", "sample_id"} <= samples.keys() or samples["inputs"].shape != samples["reconstructions"].shape:
        return []
    order = np.lexsort((samples["sample_id"], -samples["losses"]))[:_PAIRS]
    pairs = np.concatenate([samples["inputs"][order], samples["reconstructions"][order]], axis=-1)
    addresses = thumbnails(pairs) or []
    captions = [f"sample {samples['sample_id'][i]}: {samples['losses'][i]:.1f} nats" for i in order]
    pictures = [{"address": address, "caption": caption} for address, caption in zip(addresses, captions, strict=True)]
    return [{"title": "Greatest loss: input and reconstruction", "pictures": pictures}]
