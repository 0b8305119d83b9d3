"""Pictures as data addresses, so that the page needs no other file."""

from __future__ import annotations

import base64
import io

import numpy as np

THUMBNAIL_PIXELS = 160


def png_address(content: bytes) -> str:
    """Return the bytes of a PNG file as a `data:` address."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def png(pixels: np.ndarray, scale: int = 1) -> str:
    """Return a picture, uint8 `(H, W)`, `(H, W, 3)` or `(H, W, 4)`, as a data address, each pixel `scale` wide and high."""
    from PIL import Image

    enlarged = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(enlarged).save(buffer, format="PNG")
    return png_address(buffer.getvalue())


def thumbnails(inputs: np.ndarray) -> list[str] | None:
    """Return samples as small pictures, `(N, C, H, W) -> N` data addresses; None when they are no pictures (C is 1 or 3).

    All samples share one scale, from the smallest to the greatest value among them: raw units may end at 16 as well as at 255.
    """
    if inputs.ndim != 4 or inputs.shape[1] not in (1, 3) or inputs.size == 0:
        return None
    values = np.nan_to_num(inputs.astype(np.float64))
    low, high = values.min(), values.max()
    scaled = np.round(255 * (values - low) / max(high - low, np.finfo(np.float64).tiny)).astype(np.uint8)
    return [_encode(pixels) for pixels in scaled.transpose(0, 2, 3, 1)]


def heat_map(shares: np.ndarray) -> str:
    """Return a matrix of values in [0, 1] as a picture, one pixel a cell, `(K, K) -> data address`: opaque blue where the value is 1."""
    pixels = np.zeros((*shares.shape, 4), dtype=np.uint8)
    pixels[..., :3] = (47, 107, 216)
    pixels[..., 3] = np.round(255 * shares)
    return _encode(pixels)


def _encode(pixels: np.ndarray) -> str:
    from PIL import Image

    picture = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    if picture.mode != "RGBA":
        picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return png_address(buffer.getvalue())
