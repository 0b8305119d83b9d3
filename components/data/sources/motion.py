"""How a jointed figure moves: angles that swing, lengths of the body that do not change.

Legend: T frames, K joints (components/data/skeleton.py). Lengths in heights of the figure; angles in radians from straight down, forward positive.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

ACTIVITIES = ("walking", "running", "waving")

_TRUNK, _HEAD, _UPPER_ARM, _FOREARM, _THIGH, _SHIN = 0.30, 0.16, 0.17, 0.16, 0.24, 0.24
_SHOULDERS, _HIPS = 0.09, 0.06  # half the width
# Activity -> lowest and highest: steps a frame (cycles), speed (frame sides a frame), swing of the thigh, bend of the knee, bend of the elbow.
_RANGES = {
    "walking": ((0.06, 0.11), (0.010, 0.025), (0.35, 0.55), (0.3, 0.6), (0.1, 0.4)),
    "running": ((0.10, 0.16), (0.025, 0.050), (0.55, 0.85), (0.9, 1.5), (1.0, 1.6)),
    "waving": ((0.08, 0.15), (-0.005, 0.005), (0.0, 0.15), (0.0, 0.2), (0.1, 0.4)),
}


def move(rng: np.random.Generator, activity: int, frames: int) -> Floats:
    """Return the joints of one figure, `(T, K, 2)`: x, y in frame sides, x to the right and y down."""
    name = ACTIVITIES[activity]
    tempo, speed, swing, knee, elbow = (rng.uniform(*limits) for limits in _RANGES[name])
    height, facing, side = rng.uniform(0.66, 0.86), rng.choice([-1, 1]), rng.choice([-1, 1])
    lean = rng.normal(0.05, 0.05) + (0.12 if name == "running" else 0.0)
    time = np.arange(frames)
    phase = 2 * np.pi * (tempo * time + rng.uniform())
    middle = rng.uniform(0.4, 0.6, 2)
    hips = np.stack([middle[0] + facing * speed * (time - (frames - 1) / 2), middle[1] + 0.06 * height + 0.02 * height * np.cos(2 * phase)], axis=1)
    body = _Body(hips, facing, height)
    neck = body.reach(hips, np.full(frames, np.pi - lean), _TRUNK)
    head = body.reach(neck, np.full(frames, np.pi - lean - rng.normal(0, 0.1)), _HEAD)
    legs, arms = [], []
    arm_phase = phase + rng.normal(0, 0.4)
    raised = rng.integers(0, 2) if name == "waving" else -1
    for number, half in enumerate((-1, 1)):  # right, left
        stride = phase + (0 if half < 0 else np.pi)
        hip, shoulder = (start + np.array([half * side * width * height, 0.03 * height]) for start, width in ((hips, _HIPS), (neck, _SHOULDERS)))
        thigh = swing * np.sin(stride)
        legs.append(body.limb(hip, thigh, thigh - knee * (1 + np.cos(stride)) / 2, (_THIGH, _SHIN)))
        if number == raised:
            upper = rng.uniform(1.9, 2.5) + 0.25 * np.sin(2 * phase)
            lower = upper + rng.uniform(0.2, 0.6) + 0.7 * np.sin(2 * phase + 0.8)
        else:
            upper = -0.7 * swing * np.sin(arm_phase + (0 if half < 0 else np.pi))
            lower = upper + elbow
        arms.append(body.limb(shoulder, upper, lower, (_UPPER_ARM, _FOREARM)))
    (right_leg, left_leg), (right_arm, left_arm) = legs, arms
    return np.stack([*right_leg[::-1], *left_leg, *right_arm[::-1], *left_arm, neck, head], axis=1)


class _Body:
    """Limbs of one figure.

    Args:
        hips: `(T, 2)`, the middle.
        facing: 1 looks right, -1 left.
        height: in frame sides.
    """

    def __init__(self, hips: Floats, facing: int, height: float) -> None:
        self.hips, self.facing, self.height = hips, facing, height

    def reach(self, start: Floats, angle: Floats, length: float) -> Floats:
        """The other end of a bone: `(T, 2)` and `(T,)` -> `(T, 2)`."""
        return start + self.height * length * np.stack([self.facing * np.sin(angle), np.cos(angle)], axis=1)

    def limb(self, start: Floats, upper: Floats, lower: Floats, lengths: tuple[float, float]) -> list[Floats]:
        """Three joints of a limb, from the body outwards, `(T, 2)` each."""
        middle = self.reach(start, upper, lengths[0])
        return [start, middle, self.reach(middle, lower, lengths[1])]
