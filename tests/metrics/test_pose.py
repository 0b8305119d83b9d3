"""PCK: the notes' fixture T37, hand-made torsos, parts and any dealing of samples to ranks."""

from __future__ import annotations

import pytest
import torch

from components.data.skeleton import JOINTS, TORSO
from components.errors import RunError
from components.metrics.pose import Pose, torso_diameter

K = len(JOINTS)
SHOULDER, HIP = JOINTS.index("left shoulder"), JOINTS.index("right hip")


def person(torso: float = 50.0, frames: tuple[int, ...] = ()) -> torch.Tensor:
    """All joints at (100, 100) but the left shoulder, which is `torso` above."""
    truth = torch.full((*frames, K, 3), 100.0)
    truth[..., 2] = 2.0
    truth[..., SHOULDER, 1] -= torso
    return truth


def scores(truth: torch.Tensor, found: torch.Tensor, **more: torch.Tensor) -> dict:
    metric = Pose(JOINTS, TORSO)
    metric.update({"poses": found, "losses": torch.ones(len(truth))}, {"keypoints": truth, "sample_id": torch.arange(len(truth)), **more})
    return metric.compute([metric.state()])


def test_closer_than_is_strict():
    truth = person()[None]
    truth[0, 4:, 2] = 0  # four joints are labelled, and the torso
    truth[0, SHOULDER, 2] = 2
    found = truth.clone()
    found[0, :4, 0] += torch.tensor([3.0, 9.9, 10.0, 15.0])
    result = scores(truth, found)
    assert result["joints"] == 5
    assert result["pck"] == 3 / 5  # T37: 0.5 of the four, and the shoulder
    assert [row["pck"] for row in result["per_joint"][:4]] == [1.0, 1.0, 0.0, 0.0]
    assert "pck_occluded" not in result and "mean_pose_pck" not in result


def test_the_curve_rises_with_the_threshold():
    truth = person()[None]
    found = truth.clone()
    found[0, :, 0] += torch.arange(K) * 2.0  # 0 to 26 pixels, 0 to 0.52 torsos
    curve = scores(truth, found)["curve"]
    assert curve["pck"][0] == 0.0  # nothing is closer than zero
    assert curve["pck"][10] == 5 / K and curve["threshold"][10] == 0.2  # 0, 2, 4, 6, 8 but not 10
    assert curve["pck"] == sorted(curve["pck"]) and curve["pck"][-1] == 13 / K


def test_occluded_joints_are_a_part_and_unlabelled_ones_none():
    truth = person(frames=(1, 2))
    truth[0, 0, 0, 2], truth[0, 1, 0:2, 2], truth[0, 1, 4, 2] = 1, 1, 0
    found = truth.clone()
    found[0, 0, 0, 0] += 30
    found[0, 1, 4, 0] += 500
    result = scores(truth, found)
    assert result["joints"] == 2 * K - 1
    assert result["pck_occluded"] == 2 / 3 and result["pck_visible"] == 1.0
    assert result["pck"] == (2 * K - 2) / (2 * K - 1)
    ankle = result["per_joint"][0]
    assert (ankle["count"], ankle["pck_occluded"]) == (2, 0.5)


def test_the_other_diagonal_stands_in_and_a_person_without_either_is_left_out():
    truth = torch.stack([person(50.0), person(50.0), person(50.0)])
    truth[0, SHOULDER, 2] = 0
    truth[0, JOINTS.index("right shoulder"), 1] -= 20.0
    truth[1:, [SHOULDER, JOINTS.index("right shoulder")], 2] = 0
    truth[2, JOINTS.index("right shoulder"), 2] = 2  # at the hip: a torso of zero measures nothing
    assert torso_diameter(truth, TORSO).tolist() == [20.0, 0.0, 0.0]
    result = scores(truth, truth.clone())
    assert result["joints"] == K - 1 and result["unscaled"] == 2 * K - 3 and result["pck"] == 1.0


def test_the_mean_pose_is_judged_beside():
    truth = person()[None]
    mean = truth[..., :2].clone()
    mean[0, :7] += 40.0
    assert scores(truth, truth.clone(), mean_pose=mean)["mean_pose_pck"] == 0.5


def test_any_dealing_of_batches_to_ranks_gives_the_same():
    torch.manual_seed(0)
    truth, noise = person(frames=(7, 3)), 10 * torch.randn(7, 3, K, 3)
    whole = scores(truth, truth + noise)
    states = []
    for rows in ([5, 6], [0, 1, 2], [3, 4]):
        metric = Pose(JOINTS, TORSO)
        metric.update({"poses": (truth + noise)[rows], "losses": torch.ones(len(rows))}, {"keypoints": truth[rows], "sample_id": torch.tensor(rows)})
        states.append(metric.state())
    assert Pose(JOINTS, TORSO).compute([*states, Pose(JOINTS, TORSO).state()]) == whole
    assert 0 < whole["pck"] < 1


def test_a_nan_is_refused():
    truth = person()[None]
    with pytest.raises(RunError, match="non-finite"):
        scores(truth, truth * float("nan"))
