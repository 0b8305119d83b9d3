"""The skeleton of the Leeds Sports Pose data (Johnson and Everingham 2010): 14 joints, left and right as the person has them.

A keypoint is `(x, y, v)`: the first two in pixels, the centre of the first pixel at 0; v as in COCO (Lin et al. 2014): 0 not labelled (x and y
mean nothing), 1 labelled but hidden, 2 labelled and seen.
"""

from __future__ import annotations

UNLABELLED, HIDDEN, SEEN = 0, 1, 2

JOINTS = (
    "right ankle", "right knee", "right hip", "left hip", "left knee", "left ankle", "right wrist",
    "right elbow", "right shoulder", "left shoulder", "left elbow", "left wrist", "neck", "head",
)  # fmt: skip

BONES = (
    (0, 1), (1, 2), (5, 4), (4, 3), (6, 7), (7, 8), (11, 10), (10, 9), (8, 12), (9, 12), (12, 13), (2, 8), (3, 9), (2, 3),
)  # fmt: skip

# A torso's diameter is the distance from the left shoulder to the right hip (Sapp and Taskar 2013, section 5; the thesis 000 names the torso and
# does not say which distance). Where one of the two is not labelled, the other diagonal stands in.
TORSO = ((9, 2), (8, 3))
