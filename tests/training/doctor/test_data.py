"""D10 to D13 and the check stage."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from components.data.card import load_card, write_card
from components.training.doctor.data import check_stage, samples_a_class, standardised
from components.training.doctor.finding import Skipped


def verdicts(findings, *, but="ok"):
    return {(f.check, f.name, f.status) for f in findings if f.status != but}


def test_sound_data_pass(patient, write, splits):
    findings = check_stage(patient(directory=write(splits)))
    assert verdicts(findings) == set()
    assert {"D6", "D10", "D11", "D13", "data"} == {f.check for f in findings}


def test_an_imbalance_is_d10(patient, write, splits):
    splits["train"]["targets"][:] = 0
    splits["train"]["targets"][:4] = [1, 1, 2, 2]
    assert verdicts(check_stage(patient(directory=write(splits)))) == {("D10", "label balance (targets)", "fail")}  # 116 : 2


def test_statistics_of_more_than_the_training_rows_are_d13(patient, write, splits):
    """The fault of the notes: a mean over the whole data set, cut into splits afterwards."""
    splits["test"]["inputs"] += 30
    directory = write(splits)
    card = load_card(directory)
    everything = np.concatenate([split["inputs"] for split in splits.values()]).astype(float)
    other = dataclasses.replace(card.statistics["inputs"], mean=(everything.mean(),), std=(everything.std(),))
    write_card(directory, dataclasses.replace(card, statistics={"inputs": other}))
    assert verdicts(check_stage(patient(directory=directory))) == {("D13", "normalisation (inputs)", "fail")}


def test_an_image_of_one_value_is_d6_and_leaves_no_file(patient, write, splits):
    splits["validation"]["inputs"][0] = 7
    directory = write(splits)
    before = sorted(directory.iterdir())
    sick = patient(directory=directory)
    assert ("D6", "constant images (validation)", "fail") in verdicts(check_stage(sick))  # 1 of 60 is above 1 %
    assert sorted(directory.iterdir()) == before


def test_few_samples_a_class_need_help(patient, write, splits):
    directory = write(splits)
    fewest = min(np.bincount(splits["train"]["targets"]))
    helped, alone = samples_a_class(patient(directory=directory)), samples_a_class(patient(directory=directory, train=[]))
    assert (helped.status, alone.status) == ("ok", "warn")
    assert alone.found.startswith(f"{fewest} training rows in the smallest class, without")


@pytest.mark.parametrize(("rows", "status"), [(3000, "ok"), (2997, "warn")])
def test_a_thousand_a_class_are_enough(patient, write, splits, rows, status):
    rng = np.random.default_rng(5)
    splits["train"] = {"inputs": rng.integers(0, 255, (rows, 1, 4, 4)).astype(np.uint8), "targets": np.arange(rows) % 3}
    for name in ("validation", "test"):
        splits[name]["inputs"] = splits[name]["inputs"][:, :, :4, :4].copy()
    assert samples_a_class(patient(directory=write(splits), train=[])).status == status


def test_without_classes_there_is_nothing_to_count(patient, write, splits):
    with pytest.raises(Skipped, match="no classes"):
        samples_a_class(patient(directory=write(splits, classes=None)))


def test_standardised_inputs_pass_and_raw_bytes_do_not(patient, write, splits):
    directory = write(splits)
    sound, raw = standardised(patient(directory=directory)), standardised(patient(directory=directory, always=[]))
    assert (sound.status, raw.status) == ("ok", "fail")
    assert sound.found.endswith("standard deviation 1")  # 120 rows are all of them
    mean = splits["train"]["inputs"].astype(float).mean()
    assert f"mean {mean:.3g} in size" in raw.found


def test_one_channel_left_out_is_found(patient, write):
    """Two channels that are standardised and one with a mean of 3: the mean over all three would be 1."""
    rng = np.random.default_rng(6)
    level = np.array([0, 0, 3], np.float32)[:, None, None]
    made = {
        name: {
            "inputs": rng.normal(size=(rows, 3, 8, 8)).astype(np.float32) + level,
            "targets": np.arange(rows) % 3,
        }
        for name, rows in (("train", 60), ("validation", 30), ("test", 30))
    }
    finding = standardised(patient(directory=write(made), always=[]))
    assert finding.status == "warn" and "mean 3" in finding.found
