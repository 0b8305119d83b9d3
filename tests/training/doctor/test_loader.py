"""D3, D6, D9: what comes out of the loader."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from components.data.draws import Draws
from components.tasks.base import MicroBatch
from components.training.doctor.finding import Skipped
from components.training.doctor.loader import _entropy, _judge_time, first_inputs, iteration_time, mixed_batches, orientation
from tests.training.doctor.conftest import SOUND


@pytest.mark.parametrize(
    ("wait", "work", "status", "mend"),
    [
        (0.001, 0.010, "ok", ""),
        (0.004, 0.001, "ok", ""),  # four fifths, but of a step too short to care
        (0.030, 0.010, "warn", "prefetch"),
        (0.010, 1.000, "warn", "GPU"),
        (0.600, 0.500, "warn", "prefetch"),
    ],
)
def test_a_step_is_slow_or_starved(wait, work, status, mend):
    finding = _judge_time(wait, work)
    assert finding.status == status and mend in finding.mend


def test_a_small_system_is_fast(patient):
    finding = iteration_time(patient())
    assert finding.status == "ok" and float(finding.found.split()[0]) < 1.0


def test_sound_inputs_are_described_by_shape_and_type(patient):
    finding = first_inputs(patient())
    assert finding.status == "ok"
    assert finding.found.startswith("(8, 1, 8, 8) float32, mean ")


def test_raw_units_show(patient):
    assert first_inputs(patient(always=[])).status == "warn"  # bytes go up to 219


@pytest.mark.parametrize(("zeros", "status"), [(10, "warn"), (90, "fail")])
def test_images_of_zeros_are_counted(patient, write, splits, zeros, status):
    splits["train"]["inputs"][:zeros] = 0
    finding = first_inputs(patient(SOUND, "trainer.batch_size=6", directory=write(splits), train=[]))
    assert finding.status == status
    assert f"{zeros / 120:.1%} of the samples constant" in finding.found  # 20 batches of 6 are the whole epoch


def test_a_nan_that_a_transform_makes_is_found(patient, monkeypatch):
    sick = patient()
    (parts,) = sick.steps(1)
    parts[0].batch["inputs"][3, 0, 0, 0] = torch.nan
    monkeypatch.setattr(sick, "steps", lambda count: iter([parts]))
    finding = first_inputs(sick)
    assert finding.status == "fail" and "not finite" in finding.found


def _waves(rows: int, height: int, width: int) -> np.ndarray:
    """Smooth images, as smooth down as across."""
    y, x = np.mgrid[:height, :width]
    phases = np.linspace(0, 6, rows)[:, None, None]
    return (100 + 80 * np.sin(y / 4 + phases) * np.cos(x / 4 + phases)).astype(np.uint8)[:, None]


def test_an_image_as_smooth_down_as_across_passes(patient, write, splits):
    for split in splits.values():
        split["inputs"] = _waves(len(split["targets"]), 12, 32)
    assert orientation(patient(directory=write(splits))).status == "ok"


def test_rows_cut_at_the_wrong_width_are_suspected(patient, write, splits):
    for split in splits.values():
        split["inputs"] = _waves(len(split["targets"]), 12, 32).reshape(-1, 1, 32, 12)
    assert orientation(patient(directory=write(splits))).status == "warn"


def test_a_split_on_its_side_is_suspected(patient, write, splits):
    assert orientation(patient()).status == "ok"
    splits["validation"]["inputs"] = np.swapaxes(splits["validation"]["inputs"], 2, 3).copy()
    finding = orientation(patient(directory=write(splits)))
    assert finding.status == "warn" and "transposed" in finding.found


def test_what_is_no_image_has_no_width(patient, write, splits):
    for split in splits.values():
        split["inputs"] = split["inputs"].reshape(-1, 64)
    with pytest.raises(Skipped, match="no images"):
        orientation(patient(directory=write(splits)))


def test_entropy_in_bits_by_hand(patient, write, splits):
    splits["train"]["targets"][:4] = [0, 0, 1, 1]
    splits["train"]["targets"][4:8] = [0, 1, 2, 2]
    made = patient(directory=write(splits))
    assert _entropy(made, np.arange(4)) == pytest.approx(1.0)
    assert _entropy(made, np.arange(4, 8)) == pytest.approx(1.5)  # 1/4 x 2 + 1/4 x 2 + 1/2 x 1


def test_the_loader_shuffles(patient):
    assert mixed_batches(patient()).status == "ok"


@pytest.mark.parametrize(("classes", "status"), [(1, "fail"), (2, "warn")])
def test_batches_of_one_or_two_of_three_classes_are_found(patient, monkeypatch, classes, status):
    sick = patient()
    targets = sick.raw(np.arange(41))["targets"].numpy()

    def sorted_steps(count):
        for first in range(3):
            rows = np.concatenate([np.flatnonzero(targets == (first + k) % 3)[: 8 // classes] for k in range(classes)])
            batch = sick.batch(rows)
            yield [MicroBatch(batch, Draws(0, 0, batch["sample_id"]))]

    monkeypatch.setattr(sick, "steps", sorted_steps)
    finding = mixed_batches(sick)
    assert finding.status == status
    assert finding.found.startswith(f"label entropy {np.log2(classes):.2f} bits")


def test_targets_that_are_no_classes_have_no_entropy(patient, write, splits):
    for split in splits.values():
        split["targets"] = split["targets"].astype(np.float32)
    with pytest.raises(Skipped, match="one class a row"):
        mixed_batches(patient(directory=write(splits, classes=None)))


def test_the_steps_go_on_in_the_next_epoch(patient):
    sizes = [len(parts[0].batch["targets"]) for parts in patient().steps(8)]
    assert sizes == [8, 8, 8, 8, 8, 1, 8, 8]  # 41 rows in batches of 8
    assert torch.cat([p[0].batch["sample_id"] for p in patient().steps(6)]).sort().values.tolist() == list(range(41))
