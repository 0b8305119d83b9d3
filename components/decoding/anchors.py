"""Anchors: the usual shapes of a data set's boxes, found by k-means (notes 003 D8, line 1479; Redmon and Farhadi 2017, YOLO9000, section 2).

Legend: N boxes, K anchors.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from components.errors import UserError

Shapes = npt.NDArray[np.float64]

MOST_ROUNDS = 300  # the mean is not the shape of the least mean distance, so a round may, rarely, undo another


def shape_overlaps(shapes: Shapes, anchors: Shapes) -> Shapes:
    """Return the intersection over the union of boxes that share a centre, `(N, 2), (K, 2) -> (N, K)`."""
    shared = np.minimum(shapes[:, None], anchors[None]).prod(axis=2)
    return np.asarray(shared / (shapes.prod(axis=1)[:, None] + anchors.prod(axis=1)[None] - shared))


def anchors_of(shapes: Shapes, count: int) -> Shapes:
    """Cluster shapes by k-means with the distance `1 - IoU`; a centre is the mean of its shapes.

    Nothing is drawn: the start are the shapes at equally spaced ranks of area, and ties go to the smaller anchor. Sides count to a tenth of a
    pixel, so that the last bit of a float32 decides nothing.

    Args:
        shapes: `(N, 2)`, widths and heights above 0.
        count: K.

    Returns:
        `(K, 2)`, by rising area.

    Raises:
        UserError: fewer different shapes than anchors.
    """
    shapes = shapes.astype(np.float64).round(1)
    different = np.unique(shapes, axis=0)
    if len(different) < count:
        raise UserError("there are fewer different box shapes than anchors", received=f"{len(different)} shapes", expected=f"at least {count}")
    by_area = different[np.argsort(different.prod(axis=1), kind="stable")]
    anchors = by_area[((np.arange(count) + 0.5) * len(by_area) / count).astype(np.int64)]
    nearest = np.full(len(shapes), -1)
    for _ in range(MOST_ROUNDS):
        found = shape_overlaps(shapes, anchors).argmax(axis=1)
        if (found == nearest).all():
            break
        nearest = found
        # a centre that lost all its shapes stays where it was
        anchors = np.stack([shapes[nearest == k].mean(axis=0) if (nearest == k).any() else anchors[k] for k in range(count)])
    return np.asarray(anchors[np.argsort(anchors.prod(axis=1), kind="stable")])
