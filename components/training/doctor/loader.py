"""What comes out of the loader: D3 (time), D6 (is it filled, is it the right way round), D9 (are batches mixed); notes 002 section 14."""

from __future__ import annotations

import math
import statistics
import time

import numpy as np
import torch
from torch import Tensor

from components.training.doctor.finding import Finding, Skipped
from components.training.doctor.patient import Patient, Rows, real_inputs

_WARM_STEPS, _TIMED_STEPS, _LOOK_STEPS = 2, 10, 20
_STEP_SECONDS = 1.0  # the notes' limit
_WAIT_SHARE, _WAIT_SECONDS = 0.5, 0.01  # of a step; and a wait that is worth a thought
_LARGEST = 100.0  # standardised inputs lie within a few units
_MIXED, _SORTED = 0.8, 0.5  # of the label entropy that random batches have
_MOSTLY = 0.5  # of the samples constant: no data at all
_SHEARED = 3.0  # ratio of vertical to horizontal roughness
_IMAGES = 256


def iteration_time(patient: Patient) -> Finding:
    """D3: a step of one worker's micro-batch takes less than a second, most of it not spent waiting for data."""
    model, task = patient.system()
    stepper = patient.stepper(model, task)
    model.train()
    waits, works, clock = [], [], time.perf_counter()
    for step, parts in enumerate(patient.steps(_WARM_STEPS + _TIMED_STEPS)):
        fetched = time.perf_counter()
        stepper.step(parts, step, 0).loss.item()  # .item() waits for a GPU
        waits.append(fetched - clock)
        clock = time.perf_counter()
        works.append(clock - fetched)
    return _judge_time(statistics.median(waits[_WARM_STEPS:]), statistics.median(works[_WARM_STEPS:]))


def _judge_time(wait_seconds: float, work_seconds: float) -> Finding:
    total = wait_seconds + work_seconds
    slow, starved = total > _STEP_SECONDS, wait_seconds > max(_WAIT_SECONDS, _WAIT_SHARE * total)
    return Finding(
        "warn" if slow or starved else "ok",
        f"{total:.4f} s a step, {wait_seconds / total:.0%} of it waiting for data",
        f"below {_STEP_SECONDS:g} s, and waiting for less than {_WAIT_SHARE:.0%}",
        "try performance.prefetch_batches, performance.loader_workers or cheaper transforms" if starved else "try a smaller batch, or a GPU",
    )


def first_inputs(patient: Patient) -> Finding:
    """D6: what the first layer gets: finite, not all zero, not constant, of a sane size."""
    batches = [real_inputs(part.batch) for parts in patient.steps(_LOOK_STEPS) for part in parts]
    lowest, highest = (torch.cat([reach(b.flatten(1), 1) for b in batches]) for reach in (torch.amin, torch.amax))
    values = torch.cat([b.flatten() for b in batches])
    # Of one value alone nothing can be said: it is constant anyway.
    constant = float((lowest == highest).double().mean()) if batches[0][0].numel() > 1 else 0.0
    finite = bool(values.isfinite().all())
    grave = not finite or constant > _MOSTLY
    slight = constant > patient.spec.check.max_constant_fraction or float(values.abs().max()) > _LARGEST
    described = f"{tuple(batches[0].shape)} {str(batches[0].dtype).removeprefix('torch.')}"
    spread = f"mean {values.mean():.3g}, std {values.std():.3g}, from {values.min():.3g} to {values.max():.3g}"
    return Finding(
        "fail" if grave else "warn" if slight else "ok",
        f"{described}, {spread}, {constant:.1%} of the samples constant{'' if finite else ', some not finite'}",
        f"finite values that vary, within {_LARGEST:g} units",
        "look at the reader and at `augment`: something overwrites, divides by zero, or leaves raw units",
    )


def orientation(patient: Patient) -> Finding:
    """D6: width and height are not mixed up, as far as statistics tell.

    Rows that are cut at the wrong width shear the image: neighbours stay neighbours along a row but not down a column. A square image turned on its
    side shows only against another split: its mean image is closer to the other's transposed one.
    """
    column = patient.card.columns.get("inputs")
    if column is None or column.ragged or len(column.shape) != 3 or min(column.shape[1:]) < 4:
        raise Skipped("the inputs are no images of at least 4 x 4 pixels")
    trained, held = (patient.raw(patient.rows(_IMAGES, split), split)["inputs"].double() for split in ("train", "validation"))
    down, across = (float(trained.diff(dim=dim).abs().mean()) for dim in (2, 3))
    ratio = math.inf if across == 0 and down > 0 else 1.0 if down == across else max(down, 1e-12) / max(across, 1e-12)
    turned = _turned(trained.mean(0), held.mean(0))
    return Finding(
        "warn" if ratio > _SHEARED or turned else "ok",
        f"neighbours down a column differ {ratio:.2f} times as much as along a row{'; validation looks transposed' if turned else ''}",
        f"at most {_SHEARED:g} times, and splits that look alike",
        "look at the sample sheet of the check stage: the reader may mix up width and height",
    )


def _turned(trained: Tensor, held: Tensor) -> bool:
    """Is one mean image `(C, H, W)` clearly closer to the other's transpose than to the other?"""
    if trained.shape[1] != trained.shape[2]:
        return False
    straight, turned = ((trained - other).square().mean() for other in (held, held.transpose(1, 2)))
    return bool(turned < 0.5 * straight)


def mixed_batches(patient: Patient) -> Finding:
    """D9: the labels of a batch are as mixed as those of as many random rows, by entropy."""
    column = patient.card.columns.get("targets")
    if column is None or column.classes is None or column.ragged or column.shape:
        raise Skipped("the data have no column 'targets' with one class a row")
    batches = [part.batch["sample_id"].cpu().numpy() for parts in patient.steps(_LOOK_STEPS) for part in parts if part.weight]
    shuffled = patient.rows(patient.training.rows)
    own = statistics.fmean(_entropy(patient, rows) for rows in batches)
    other = statistics.fmean(_entropy(patient, np.roll(shuffled, -7 * i)[: len(rows)]) for i, rows in enumerate(batches))
    if other == 0:
        raise Skipped("the training rows hold one class, or a batch one row")
    share = own / other
    return Finding(
        "ok" if share >= _MIXED else "warn" if share >= _SORTED else "fail",
        f"label entropy {own:.2f} bits a batch, {other:.2f} in random batches",
        f"at least {_MIXED:.0%} of random batches'",
        "shuffle: trainer.order=shuffled, or a reader that does not sort by label",
    )


def _entropy(patient: Patient, rows: Rows) -> float:
    """Entropy of the labels of some rows, bits."""
    counts = torch.bincount(patient.raw(rows)["targets"].long()).double()
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log2()).sum())
