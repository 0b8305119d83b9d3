"""Scaling, resume, inputs and gpu on the smallest sizes: they run, and what they time is what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.training import gpu, inputs, resume, scaling
from benchmarks.training.log import Log
from benchmarks.training.ours import train
from benchmarks.training.systems import SYSTEMS, write_data
from components.training import journal
from components.training.notices import Notice

# The notes' standard augmentation without its flip, whose module may not be there yet.
SHIFT = {"train": [{"_target_": "components.data.transforms.RandomShift", "pixels": 4}]}


def test_two_workers_make_the_steps_of_one(small, tmp_path):
    system, data = small("lenet5")
    assert scaling.rate(system, data, tmp_path / "two", workers=2, warmup_steps=1, steps=3) > 0
    assert json.loads((tmp_path / "two" / "summary.json").read_text())["workers"] == 2
    log = Log(1)
    train(system, data, 3, log, tmp_path / "one")
    steps = [r["loss"] for r in journal.read(tmp_path / "two" / "metrics.jsonl") if r["kind"] == "step"]
    assert steps == pytest.approx([e.loss for e in log.entries], abs=1e-5)


def test_workers_that_fail_are_told(small, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling.sys, "executable", "false")
    with pytest.raises(RuntimeError, match="2 workers failed"):
        scaling.rate(*small("lenet5"), tmp_path / "run", workers=2)


def test_a_session_asks_to_leave_in_its_last_step():
    session = resume.Leaving(steps=3)
    assert [session.notice() for _ in range(3)] == [Notice.NONE, Notice.NONE, Notice.STOP]
    assert session.begun == sorted(session.begun)


def test_resume_times_the_step_after_the_checkpoint(small, tmp_path):
    system, data = small("lenet5")  # five steps an epoch
    assert len(resume._train(system, data, tmp_path, 4)) == 4
    assert resume.first_step(system, data, tmp_path) > 0
    saved = sorted(path.name for path in (tmp_path / "checkpoints").glob("step_*"))
    assert saved[-1] == "step_00000006"  # steps 5 and 6: the first one resumed, and the one whose start ended the clock


def test_resume_measures_all_starts():
    rounds = resume.measure(replace(SYSTEMS["lenet5"], batch_size=4, rows=40), repeats=2)
    assert [list(r) for r in rounds] == [["fresh", "resumed at 0.1 %", "resumed at 90 %"]] * 2
    assert all(0 < seconds < 100 for r in rounds for seconds in r.values())


def test_ratios_to_a_fresh_start_are_taken_within_a_round():
    rows = resume.table("X", [{"fresh": 1.0, "resumed": 1.5}, {"fresh": 2.0, "resumed": 2.0}, {"fresh": 4.0, "resumed": 4.4}])
    assert [(r["start"], r["seconds"], r["ratio"]) for r in rows] == [("fresh", 2.0, 1.0), ("resumed", 2.0, 1.1)]
    assert (rows[1]["least"], rows[1]["greatest"]) == (1.0, 1.5)


@pytest.mark.parametrize("depth", inputs.PREFETCH_BATCHES.values())
def test_inputs_count_every_row_of_timed_epochs(depth, small, monkeypatch):
    system, data = small("resnet20")
    seconds = iter([10.0, 12.0])
    monkeypatch.setattr(inputs.time, "perf_counter", lambda: next(seconds))
    assert inputs.inputs_rate(system, data, depth, SHIFT, epochs=2) == 2 * 30 / 2.0


def test_inputs_against_training(small, tmp_path):
    system, data = small("lenet5")
    assert inputs.training_rate(system, data, tmp_path, 2, SHIFT, warmup_steps=1, steps=3) > 0


def test_the_standard_augmentation_is_that_of_the_configuration():
    path = Path(__file__).parents[2] / "conf" / "augment" / "standard.yaml"
    if not path.is_file():
        pytest.skip("conf/augment/standard.yaml is not there yet")
    import yaml

    assert yaml.safe_load(path.read_text()) == inputs.STANDARD


def test_gpu_runs_in_small(tmp_path):
    for system in gpu.TINY.values():
        rows = gpu.measure(system, torch.device("cpu"), repeats=1, warmup_steps=1, steps=2)
        assert [row["contender"] for row in rows] == ["by hand", "modelyard"]
        assert all(row["samples/s"] > 0 and row["TFLOP/s"] > 0 for row in rows)
        assert all(row["MFU %"] is None for row in rows)  # of a CPU no peak is published


def test_both_loops_of_the_gpu_benchmark_make_the_same_steps_in_bf16(tmp_path):
    from benchmarks.training import by_hand

    for name, system in gpu.TINY.items():
        data = write_data(system, tmp_path / name)
        hand, own = Log(1), Log(1)
        by_hand.train(system, data, 4, hand)
        train(system, data, 4, own, tmp_path / f"{name}-run")
        # bf16 has 8 bits: a rounding that falls the other way moves a loss of 2 to 4 by some 0.01
        assert [e.loss for e in hand.entries] == pytest.approx([e.loss for e in own.entries], abs=0.02)


def test_flops_of_a_sample_are_those_of_the_closed_form(tmp_path):
    """GPT, forward and backward: 6 N per token for the N weights of matrices, and 12 L T D per token for attention (Chowdhery et al. 2022)."""
    system = gpu.TINY["gpt"]
    options = system.model
    layers, width, tokens = options["layers"], options["hidden_dim"], system.shape[0] - 1
    weights = layers * 12 * width**2 + system.classes * width  # the table of positions is no matrix product
    expected = tokens * (6 * weights + 12 * layers * tokens * width)
    found = gpu.sample_flops(system, write_data(system, tmp_path / "data"))
    assert found == pytest.approx(expected, rel=0.05)  # torch counts causal attention and its backward pass in its own way


def test_mfu_is_the_share_of_the_peak():
    rounds = [{"by hand": (100.0, 1.0), "modelyard": (98.0, 1.0)}, {"by hand": (100.0, 1.0), "modelyard": (102.0, 3.0)}]
    row = gpu._row(gpu.LARGE["gpt2"], "modelyard", rounds, operations=2e12, peak=1e15)
    assert row["samples/s"] == 100.0
    assert row["TFLOP/s"] == pytest.approx(200.0)
    assert row["MFU %"] == pytest.approx(20.0)
    assert (row["least"], row["greatest"], row["peak GiB"]) == (0.98, 1.02, 2.0)


def test_gpt2_small_has_its_published_size():
    """124,439,808 parameters (Radford et al. 2019, as Hugging Face's gpt2 has them)."""
    from components.spec.targets import resolve

    options = {k: v for k, v in gpu.LARGE["gpt2"].model.items() if k != "_target_"}
    with torch.device("meta"):
        model = resolve(gpu.LARGE["gpt2"].model["_target_"])(**options)
    assert sum(p.numel() for p in model.parameters()) == 124_439_808
