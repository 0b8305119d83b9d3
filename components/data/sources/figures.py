"""Generated clips of a person who walks, runs or waves while bars pass in front: stands for the unnamed videos of the thesis (000, M01).

Legend: N clips, T frames, S side of a frame in pixels, K joints (components/data/skeleton.py).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.data.card import Column
from components.data.columns import Columns, SourceData
from components.data.skeleton import BONES, HIDDEN, JOINTS, SEEN, UNLABELLED
from components.data.sources.motion import ACTIVITIES, move
from components.errors import UserError

Floats = npt.NDArray[np.float64]

_THICKNESS = 0.03  # radius of a limb, in sides of the frame
_NOISE = 6.0  # standard deviation of the pixels, of 255
_TONES = {"right": (215, 95, 70), "left": (70, 110, 215), "trunk": (120, 175, 95)}  # so that a picture alone tells left from right


def read_figures(raw: Path, seed: int, train_rows: int, validation_rows: int, test_rows: int, frames: int, size: int) -> SourceData:
    """Generate clips; each is a function of (seed, split, row).

    The bars make time help: what one hides was seen before, or will be.

    Args:
        raw: not read.
        seed: of everything.
        train_rows, validation_rows, test_rows: clips of each split.
        frames: T.
        size: S.

    Returns:
        `inputs` uint8 `(T, 3, S, S)`, `keypoints` float32 `(T, K, 3)` (x, y in pixels; v 2 seen, 1 behind a bar, 0 outside the frame) and
        `activity` int64 `()`.

    Raises:
        UserError: there are no frames, or they are too small for a person.
    """
    if frames < 1 or size < 16:
        raise UserError("figures need a frame at least, of 16 pixels at least", received=f"frames={frames}, size={size}")
    columns = {
        "inputs": Column("uint8", (frames, 3, size, size)),
        "keypoints": Column("float32", (frames, len(JOINTS), 3)),
        "activity": Column("int64", classes=ACTIVITIES),
    }
    rows = {"train": train_rows, "validation": validation_rows, "test": test_rows}
    return SourceData(columns, {name: _split(seed, number, count, frames, size) for number, (name, count) in enumerate(rows.items())})


def _split(seed: int, split: int, rows: int, frames: int, size: int) -> Columns:
    clips = [_clip(np.random.default_rng([seed, split, row]), row % len(ACTIVITIES), frames, size) for row in range(rows)]
    return {
        "inputs": np.stack([inputs for inputs, _ in clips]),
        "keypoints": np.stack([keypoints for _, keypoints in clips]),
        "activity": np.arange(rows, dtype=np.int64) % len(ACTIVITIES),
    }


def _clip(rng: np.random.Generator, activity: int, frames: int, size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Return `(T, 3, S, S)` and `(T, K, 3)`."""
    joints = move(rng, activity, frames) * size
    picture = _background(rng, frames, size)
    _draw_person(rng, picture, joints)
    hidden = _draw_bars(rng, picture, joints)
    noisy = picture + rng.normal(0.0, _NOISE, picture.shape)
    outside = ((joints < -0.5) | (joints > size - 0.5)).any(axis=-1)
    state = np.select([outside, hidden], [UNLABELLED, HIDDEN], SEEN)
    keypoints = np.concatenate([joints, state[..., None]], axis=-1).astype(np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), keypoints


def _background(rng: np.random.Generator, frames: int, size: int) -> Floats:
    """A slope of grey with sticks of any colour that stand still: limbs that belong to nobody."""
    slope = rng.uniform(-60, 60, 2)
    y, x = np.mgrid[:size, :size] / size - 0.5
    picture = np.broadcast_to(110 + slope[0] * x + slope[1] * y, (frames, 3, size, size)).copy()
    for _ in range(rng.integers(3, 7)):
        start = rng.uniform(0, size, 2)
        end = start + rng.uniform(-0.35, 0.35, 2) * size
        stick = np.broadcast_to(np.stack([start, end]), (frames, 2, 2))
        _paint(picture, _coverage(stick, rng.uniform(0.5, 1.3) * _THICKNESS * size, size), rng.uniform(20, 235, 3))
    return picture


def _draw_person(rng: np.random.Generator, picture: Floats, joints: Floats) -> None:
    """Paint bone after bone and a ball for the head."""
    size = picture.shape[-1]
    tones = {name: np.clip(np.array(tone) + rng.normal(0, 15, 3), 0, 255) for name, tone in _TONES.items()}
    for bone in BONES:
        sides = {JOINTS[joint].split()[0] for joint in bone}
        tone = tones[sides.pop()] if len(sides) == 1 and sides & tones.keys() else tones["trunk"]
        _paint(picture, _coverage(joints[:, bone], _THICKNESS * size, size), tone)
    head, neck = JOINTS.index("head"), JOINTS.index("neck")
    middle = 0.4 * joints[:, neck] + 0.6 * joints[:, head]
    _paint(picture, _coverage(np.stack([middle, middle], axis=1), 0.055 * size, size), tones["trunk"])


def _draw_bars(rng: np.random.Generator, picture: Floats, joints: Floats) -> npt.NDArray[np.bool_]:
    """Move one or two bars, wide as the person or half of it, across the person; return which joints they hide, `(T, K)`."""
    frames, size = len(joints), picture.shape[-1]
    hidden = np.zeros(joints.shape[:2], dtype=bool)
    time = np.arange(frames)
    for _ in range(rng.integers(1, 3)):
        angle, radius = rng.uniform(0, np.pi), rng.uniform(0.08, 0.17) * size
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        speed, meeting = rng.uniform(0.06, 0.13) * size * rng.choice([-1, 1]), rng.uniform(0, frames - 1)
        centre = joints.mean(axis=(0, 1)) + rng.normal(0, 0.08, 2) * size + across * (speed * (time - meeting))[:, None]
        ends = np.stack([centre - 2 * size * along, centre + 2 * size * along], axis=1)
        _paint(picture, _coverage(ends, radius, size), rng.uniform(20, 235, 3))
        hidden |= np.abs(((joints - centre[:, None]) * across).sum(axis=-1)) < radius
    return hidden


def _coverage(segments: Floats, radius: float, size: int) -> Floats:
    """Return how much of each pixel a capsule covers, by its distance from the centre line: `(T, 2, 2)` (ends; x, y) -> `(T, S, S)` in [0, 1]."""
    y, x = np.mgrid[:size, :size]
    start, along = segments[:, 0, :, None, None], (segments[:, 1] - segments[:, 0])[:, :, None, None]
    to_x, to_y = x - start[:, 0], y - start[:, 1]
    length = np.maximum((along**2).sum(axis=1), 1e-9)
    share = np.clip((to_x * along[:, 0] + to_y * along[:, 1]) / length, 0, 1)
    distance = np.hypot(to_x - share * along[:, 0], to_y - share * along[:, 1])
    covered: Floats = np.clip(radius + 0.5 - distance, 0, 1)
    return covered


def _paint(picture: Floats, coverage: Floats, tone: npt.NDArray[np.float64]) -> None:
    """Lay a colour over `(T, 3, S, S)`, in place."""
    picture += coverage[:, None] * (tone[:, None, None] - picture)
