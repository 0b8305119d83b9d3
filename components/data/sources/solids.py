"""Point clouds of ten families of solids with random proportions, made here: what a parametric CAD program exports (notes 003 T7).

A solid is a triangle mesh: a profile turned about an axis in a few steps (four steps make a box of a cylinder, three a prism) and stretched. Points
are drawn on its surface, uniformly by area, and independently: the first n points of a cloud are a cloud of n points.

Legend: N points, P points of a profile, S steps of a turn, T triangles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.data.card import Column
from components.data.columns import Columns, SourceData

Floats = npt.NDArray[np.float64]
Draw = Callable[[float, float], float]

_ROUND = 32  # steps of a turn and of a half circle that look round
_STRETCH = (0.7, 1.4)  # of each axis, after the family's own proportions


def read_solids(raw: Path, rows: dict[str, int], points: int, noise: float, seed: int) -> SourceData:
    """Make clouds; row i is of family i mod 10. Every row has a generator of its own, seeded by (seed, split, row), so more rows change none.

    Solids lie with their axis along x, base to the left: turning them about z is then no symmetry of them, as it is not of a chair.

    Args:
        raw: not looked at.
        rows: of train, validation and test.
        points: N.
        noise: standard deviation of each coordinate, in parts of the solid's radius.

    Returns:
        `inputs` float32 `(N, 3)` x, y, z, not centred, radius about 1; `targets` int64 `()`.
    """
    names = tuple(FAMILIES)
    columns = {"inputs": Column("float32", (points, 3)), "targets": Column("int64", classes=names)}
    splits: dict[str, Columns] = {}
    for number, split in enumerate(("train", "validation", "test")):
        targets = np.arange(rows[split], dtype=np.int64) % len(names)
        generators = [np.random.default_rng([seed, number, row]) for row in range(rows[split])]
        clouds = [cloud(names[target], points, noise, rng) for target, rng in zip(targets, generators, strict=True)]
        splits[split] = {"inputs": np.stack(clouds).astype(np.float32), "targets": targets}
    return SourceData(columns, splits)


def cloud(family: str, points: int, noise: float, rng: np.random.Generator) -> Floats:
    """Return `(N, 3)` points on one solid of a family."""
    triangles = FAMILIES[family](lambda low, high: float(rng.uniform(low, high)))
    triangles = triangles * rng.uniform(*_STRETCH, size=3)
    triangles = triangles / np.linalg.norm(triangles.reshape(-1, 3) - triangles.mean((0, 1)), axis=1).max()
    return on_surface(triangles, points, rng) + noise * rng.standard_normal((points, 3))


def on_surface(triangles: Floats, points: int, rng: np.random.Generator) -> Floats:
    """Draw points uniformly by area, `(T, 3, 3) -> (N, 3)`: a triangle by its area, then a place in it (Osada et al. 2002, section 3.1)."""
    chosen = triangles[rng.choice(len(triangles), size=points, p=(area := areas(triangles)) / area.sum())]
    root, along = np.sqrt(rng.random((points, 1))), rng.random((points, 1))
    return (1 - root) * chosen[:, 0] + root * (1 - along) * chosen[:, 1] + root * along * chosen[:, 2]


def areas(triangles: Floats) -> Floats:
    """(T, 3, 3) -> (T,)."""
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    return np.asarray(np.linalg.norm(normals, axis=1) / 2)


def turned(profile: Floats, steps: int) -> Floats:
    """Turn a profile about the x axis.

    Args:
        profile: `(P, 2)` x and radius, one corner after the other; closed by repeating the first. A radius of 0 closes an end.
        steps: S; 4 make a square cross-section.

    Returns:
        `(2 (P - 1) S, 3, 3)` triangles; those at the axis have no area.
    """
    angle = 2 * math.pi * np.arange(steps + 1) / steps
    x, radius = profile[:, 0, None], profile[:, 1, None]
    grid = np.stack([np.broadcast_to(x, (len(profile), steps + 1)), radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    a, b, c, d = grid[:-1, :-1], grid[1:, :-1], grid[1:, 1:], grid[:-1, 1:]
    return np.concatenate([np.stack(corners, axis=-2).reshape(-1, 3, 3) for corners in ((a, b, c), (a, c, d))])


def _arc(start: float, stop: float, radius: float = 1.0, centre: tuple[float, float] = (0.0, 0.0), steps: int = _ROUND // 2) -> Floats:
    """(P, 2) points of a circle, angles in radians from the x axis."""
    angle = np.linspace(start, stop, steps + 1)
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], axis=1)


def _profile(*corners: tuple[float, float]) -> Floats:
    return np.array(corners, dtype=np.float64)


def _sphere(draw: Draw) -> Floats:
    return turned(_arc(math.pi, 0.0), _ROUND)


def _hemisphere(draw: Draw) -> Floats:
    return turned(np.vstack([_profile((0, 0)), _arc(math.pi / 2, 0.0)]), _ROUND)


def _cylinder(draw: Draw) -> Floats:
    return turned(_bar(draw(1.0, 3.0)), _ROUND)


def _box(draw: Draw) -> Floats:
    return turned(_bar(draw(0.8, 3.0)), 4)


def _prism(draw: Draw) -> Floats:
    return turned(_bar(draw(1.0, 3.0)), 3)


def _bar(length: float) -> Floats:
    return _profile((0, 0), (0, 1), (length, 1), (length, 0))


def _cone(draw: Draw) -> Floats:
    return turned(_profile((0, 0), (0, 1), (draw(1.2, 3.0), 0)), _ROUND)


def _pyramid(draw: Draw) -> Floats:
    return turned(_profile((0, 0), (0, 1), (draw(1.2, 3.0), 0)), 4)


def _capsule(draw: Draw) -> Floats:
    length = draw(1.0, 3.0)
    return turned(np.vstack([_arc(math.pi, math.pi / 2), _arc(math.pi / 2, 0.0, centre=(length, 0.0))]), _ROUND)


def _torus(draw: Draw) -> Floats:
    return turned(_arc(0.0, 2 * math.pi, radius=draw(0.2, 0.45), centre=(0.0, 1.0), steps=_ROUND), _ROUND)


def _tube(draw: Draw) -> Floats:
    length, inner = draw(1.0, 3.0), draw(0.5, 0.8)
    return turned(_profile((0, inner), (0, 1), (length, 1), (length, inner), (0, inner)), _ROUND)


FAMILIES: dict[str, Callable[[Draw], Floats]] = {
    "sphere": _sphere, "hemisphere": _hemisphere, "cylinder": _cylinder, "box": _box, "prism": _prism,
    "cone": _cone, "pyramid": _pyramid, "capsule": _capsule, "torus": _torus, "tube": _tube,
}  # fmt: skip
