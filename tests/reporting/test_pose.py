"""The pose section: pictures with both skeletons, the same bytes each time, and nothing for other systems."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from components.data.skeleton import JOINTS, TORSO
from components.metrics.pose import Pose
from components.reporting.page import draw
from components.reporting.sections.pose import draw_pose, draw_strip, pose

K, ROWS = len(JOINTS), 14


def run(*frames: int) -> SimpleNamespace:
    rng = np.random.default_rng(0)
    keypoints = np.concatenate([rng.uniform(2, 30, (ROWS, *frames, K, 2)), rng.integers(0, 3, (ROWS, *frames, K, 1))], axis=-1)
    keypoints[..., [9, 2], 2] = 2
    poses = keypoints + rng.normal(0, 1, keypoints.shape)
    metric = Pose(JOINTS, TORSO)
    batch = {"keypoints": torch.tensor(keypoints), "sample_id": torch.arange(ROWS)}
    metric.update({"poses": torch.tensor(poses), "losses": torch.rand(ROWS, generator=torch.Generator().manual_seed(0))}, batch)
    samples = {
        "inputs": rng.integers(0, 256, (ROWS, *frames, 3, 32, 32), dtype=np.uint8),
        "keypoints": keypoints,
        "poses": poses,
        "losses": rng.random(ROWS),
        "sample_id": np.arange(ROWS),
    }
    return SimpleNamespace(metrics={"test": metric.compute([metric.state()])}, judged_split="test", samples=samples)


def test_photos_and_clips_are_drawn_deterministically():
    for frames, pictures in (((), 14), ((4,), 8)):
        sections = [pose(run(*frames)) for _ in range(2)]
        first, second = (draw(section) for section in sections)
        assert first == second
        assert first.count("<img") == pictures and "left wrist" in first and "<svg" in first
        assert "occluded" in first and "over torso diameters" in first


def test_bones_of_labelled_joints_alone_are_drawn():
    blank = np.zeros((3, 32, 32), dtype=np.uint8)
    truth = np.zeros((K, 3))
    assert draw_pose(blank, truth, truth, 96).max() == 0
    truth[:2] = [[4, 4, 2], [28, 28, 2]]  # right ankle and knee
    found = truth - np.array([0, 4, 0])
    drawn = draw_pose(blank, truth, found, 96)
    assert drawn.shape == (96, 96, 3)
    assert (drawn == 255).all(axis=-1).any() and (drawn == (255, 120, 40)).all(axis=-1).any()
    assert drawn[49, 49].tolist() == [255, 255, 255]  # pixel 16 begins at 48
    assert draw_strip(blank[None].repeat(5, 0), truth[None].repeat(5, 0), found[None].repeat(5, 0), 64).shape == (128, 320, 3)


def test_other_systems_have_none():
    assert pose(SimpleNamespace(metrics={"test": {"accuracy": 1.0}}, judged_split="test", samples={})) is None
    assert pose(SimpleNamespace(metrics={}, judged_split="", samples={})) is None
