"""Scores of pose estimation. N samples, T frames (1 for images), K joints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from components.errors import RunError
from components.metrics.base import Metric, State, gather_samples

THRESHOLD = 0.2
CURVE = tuple(step / 50 for step in range(26))  # 0, 0.02, ..., 0.5

OCCLUDED, VISIBLE = 1, 2  # of a keypoint (x, y, v), as in COCO (Lin et al. 2014); 0 is not labelled


class Pose(Metric):
    """PCK, the percentage of correct keypoints (Yang and Ramanan 2013; notes 000 L71): a joint is correct when it is CLOSER to the truth than a
    fraction of the torso's diameter, so at exactly that distance it is wrong (T37).

    The thesis leaves the diameter open; here it is the distance from the true left shoulder to the true right hip of the same frame (Sapp and
    Taskar 2013), the other diagonal where one of these is not labelled. A frame with neither has no measure and is left out; `unscaled` counts its
    labelled joints. Occluded joints count like others; `pck_occluded` and `pck_visible` are the two parts.

    Args:
        joints: the K names.
        torso: pairs of joint numbers whose distance is the diameter; the first pair that is labelled.
    """

    def __init__(self, joints: Sequence[str], torso: Sequence[tuple[int, int]]) -> None:
        self.joints, self.torso = list(joints), list(torso)
        self._batches: list[State] = []

    def update(self, outputs: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> None:
        """Take one batch.

        Args:
            outputs: `poses (B, [T,] K, 3)`, x and y first, and `losses (B,)`.
            batch: `keypoints (B, [T,] K, 3)`, `sample_id` int64 `(B,)`; where the data set has it, `mean_pose (B, K, 2)`, the mean of the
                training split, which is judged beside the predictions.

        Raises:
            AssertionError: poses of another shape than the keypoints.
        """
        truth, found = (tensor.detach().cpu().double() for tensor in (batch["keypoints"], outputs["poses"]))
        assert found.shape == truth.shape, (tuple(found.shape), tuple(truth.shape))
        truth, found = (tensor.reshape(len(tensor), -1, *tensor.shape[-2:]) for tensor in (truth, found))
        torso, state = torso_diameter(truth, self.torso), truth[..., 2].round().long()
        part = {
            "sample_id": batch["sample_id"].detach().cpu().long(),
            "losses": outputs["losses"].detach().cpu().double(),
            "state": torch.where(torso[..., None] > 0, state, -state),
            "distance": _distance(found, truth, torso),
        }
        if "mean_pose" in batch:
            mean = batch["mean_pose"].detach().cpu().double()[:, None].expand_as(truth[..., :2])
            part["mean_distance"] = _distance(mean, truth, torso)
        self._batches.append(part)

    def state(self) -> State:
        """Return this rank's samples: `sample_id` and `losses` `(n,)`, `state` and `distance` (in torsos) `(n, T, K)`."""
        if not self._batches:
            return {"sample_id": torch.empty(0, dtype=torch.int64)}
        return {name: torch.cat([part[name] for part in self._batches]) for name in self._batches[0]}

    def compute(self, states: Sequence[State]) -> dict[str, Any]:
        """Return the scores over all ranks' samples; a ratio without joints is 0.

        Returns:
            Floats `pck` (at 0.2), `pck_occluded` and `pck_visible` where some labelled joints are hidden, `mean_pose_pck` where the data set has
            a mean pose; `loss`, the mean over samples; `pck_area`, the mean of the curve; `samples`, `joints`, `unscaled`; `per_joint`, rows
            {joint, count, pck, ...the same parts}; `curve`, {threshold: [...], pck: [...], ...}.

        Raises:
            AssertionError: no sample at all, or one seen twice.
            RunError: the model gave a NaN or an infinite value.
        """
        samples = gather_samples([state for state in states if len(state["sample_id"])])
        count = len(samples["sample_id"])
        _refuse_non_finite(samples)
        state, distance = samples["state"].flatten(0, 1), samples["distance"].flatten(0, 1)
        parts = {"pck": (state > 0, distance)}
        if bool((state == OCCLUDED).any()):
            parts |= {"pck_occluded": (state == OCCLUDED, distance), "pck_visible": (state == VISIBLE, distance)}
        if "mean_distance" in samples:
            parts["mean_pose_pck"] = (state > 0, samples["mean_distance"].flatten(0, 1))
        curve = {name: [pck(values, chosen, threshold) for threshold in CURVE] for name, (chosen, values) in parts.items()}
        return {
            **{name: pck(values, chosen, THRESHOLD) for name, (chosen, values) in parts.items()},
            "loss": math.fsum(samples["losses"].tolist()) / count,
            "pck_area": math.fsum(curve["pck"]) / len(CURVE),
            "samples": count,
            "joints": int((state > 0).sum()),
            "unscaled": int((state < 0).sum()),
            "per_joint": [
                {
                    "joint": name,
                    "count": int((state[:, k] > 0).sum()),
                    **{part: pck(values[:, k], chosen[:, k], THRESHOLD) for part, (chosen, values) in parts.items()},
                }
                for k, name in enumerate(self.joints)
            ],
            "curve": {"threshold": list(CURVE), **curve},
        }


def torso_diameter(truth: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Return the distance of the first pair of joints that is labelled, else 0.

    (..., K, 3), the last axis (x, y, v) -> (...), in pixels.
    """
    diameter = torch.zeros(truth.shape[:-2], dtype=truth.dtype)
    for shoulder, hip in reversed(pairs):
        ends = truth[..., shoulder, :], truth[..., hip, :]
        both = (ends[0][..., 2] > 0) & (ends[1][..., 2] > 0)
        diameter = torch.where(both, torch.linalg.vector_norm(ends[0][..., :2] - ends[1][..., :2], dim=-1), diameter)
    return diameter


def pck(distance: Tensor, chosen: Tensor, threshold: float) -> float:
    """Return the share of the chosen joints that are closer than the threshold: a ratio of two integers, 0 where none is chosen.

    Args:
        distance: in torsos.
        chosen: bool, of the same shape.
        threshold: in torsos.
    """
    total = int(chosen.sum())
    return int(((distance < threshold) & chosen).sum()) / total if total else 0.0


def _distance(found: Tensor, truth: Tensor, torso: Tensor) -> Tensor:
    """In torsos, `(n, T, K)`; 0 where the joint is not labelled or the frame has no torso (never chosen, and no number that JSON lacks)."""
    measured = (truth[..., 2] > 0) & (torso[..., None] > 0)
    pixels = torch.linalg.vector_norm(found[..., :2] - truth[..., :2], dim=-1)
    return torch.where(measured, pixels / torso[..., None].clamp(min=1e-9), 0.0)


def _refuse_non_finite(samples: State) -> None:
    bad = samples["sample_id"][~(samples["losses"].isfinite() & samples["distance"].isfinite().flatten(1).all(dim=1))]
    if len(bad):
        raise RunError(f"The model gave a non-finite value for {len(bad)} of {len(samples['losses'])} samples, first sample_id {int(bad[0])}.")
