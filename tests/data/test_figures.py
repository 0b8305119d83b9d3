"""Generated clips: reproducible, bones of constant length, occlusion that is told rightly and that time can undo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from components.data.skeleton import BONES, HIDDEN, JOINTS, SEEN
from components.data.sources.figures import read_figures
from components.data.sources.motion import ACTIVITIES, move
from components.errors import UserError


@pytest.fixture(scope="module")
def data():
    return read_figures(Path("none"), seed=0, train_rows=30, validation_rows=3, test_rows=3, frames=8, size=32)


def test_a_row_depends_on_seed_split_and_its_number_alone(data):
    fewer = read_figures(Path("none"), seed=0, train_rows=4, validation_rows=1, test_rows=1, frames=8, size=32)
    other = read_figures(Path("none"), seed=1, train_rows=4, validation_rows=1, test_rows=1, frames=8, size=32)
    for column in ("inputs", "keypoints", "activity"):
        np.testing.assert_array_equal(fewer.splits["train"][column], data.splits["train"][column][:4])
    assert not np.array_equal(fewer.splits["train"]["inputs"], other.splits["train"]["inputs"])
    assert not np.array_equal(fewer.splits["train"]["inputs"][0], fewer.splits["test"]["inputs"][0])


def test_columns_are_as_described(data):
    for columns in data.splits.values():
        for name, column in data.columns.items():
            assert (columns[name].dtype.name, columns[name].shape[1:]) == (column.dtype, column.shape)
    assert set(data.splits["train"]["activity"]) == {0, 1, 2} and data.columns["activity"].classes == ACTIVITIES


@pytest.mark.parametrize("activity", range(3))
def test_limbs_keep_their_length_and_the_head_is_up(activity):
    joints = move(np.random.default_rng(activity), activity, 12)
    assert joints.shape == (12, len(JOINTS), 2)
    limbs = [bone for bone in BONES if len({JOINTS[j].split()[0] for j in bone}) == 1]
    assert len(limbs) == 10  # the flanks too
    for a, b in limbs:
        assert np.ptp(np.linalg.norm(joints[:, a] - joints[:, b], axis=1)) < 1e-9
    assert (joints[:, JOINTS.index("head"), 1] < joints[:, JOINTS.index("left hip"), 1]).all()
    assert np.ptp(joints[:, JOINTS.index("left ankle"), 0]) > 0


def test_a_runner_is_faster_than_who_waves():
    speeds = [np.mean([np.ptp(move(np.random.default_rng(s), activity, 8)[:, 12, 0]) for s in range(20)]) for activity in range(3)]
    assert speeds[2] < speeds[0] < speeds[1]


def test_time_undoes_occlusion(data):
    state = data.splits["train"]["keypoints"][..., 2]
    hidden = (state == HIDDEN).mean()
    assert 0.2 < hidden < 0.5
    clips, _, joints = np.nonzero(state == HIDDEN)
    assert (state == SEEN).any(axis=1)[clips, joints].mean() > 0.9  # the same joint is seen in another frame


def test_hidden_joints_lie_under_a_bar_and_seen_ones_do_not():
    """Without noise a bar has one colour: the pixel of a hidden joint has it in every frame, as has no joint's that is seen on a limb."""
    data = read_figures(Path("none"), seed=3, train_rows=6, validation_rows=1, test_rows=1, frames=8, size=64)
    inputs, keypoints = (data.splits["train"][name] for name in ("inputs", "keypoints"))
    spread = {SEEN: [], HIDDEN: []}
    for clip, frame, joint in np.argwhere(keypoints[..., 2] > 0):
        x, y, state = keypoints[clip, frame, joint]
        patch = inputs[clip, frame, :, max(0, round(y) - 2) : round(y) + 3, max(0, round(x) - 2) : round(x) + 3].astype(float)
        spread[int(state)].append(patch.std(axis=(1, 2)).mean())
    assert np.median(spread[HIDDEN]) < 8 < 15 < np.median(spread[SEEN])  # the noise has 6


def test_impossible_clips_are_refused():
    with pytest.raises(UserError, match="16 pixels"):
        read_figures(Path("none"), seed=0, train_rows=1, validation_rows=1, test_rows=1, frames=8, size=8)
