"""The input pipeline without a model, with the notes' standard augmentation, against what training consumes.

    python -m benchmarks.training.inputs

ResNet-20's data, batches of 64, one thread: fetched in the loop's own thread, and ahead by another. The consumer is ResNet-20 in training on the same
data. Aim: inputs at least 3 times as fast. Where nothing consumes, fetching ahead can only cost; its gain is in the last rows.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.record import publish
from benchmarks.training import ours
from benchmarks.training.log import Log, samples_per_second
from benchmarks.training.systems import SYSTEMS, Plain, System, plain_spec, write_data
from components.spec.parse import parse_spec
from components.training.inputs import Inputs
from components.training.session import LocalSession

# conf/augment/standard.yaml: mirrored or not, and moved by up to 4 pixels (notes 002 section 10).
STANDARD: Plain = {"train": [{"_target_": "components.data.augment.RandomFlip"}, {"_target_": "components.data.transforms.RandomShift", "pixels": 4}]}
PREFETCH_BATCHES = {"direct": 0, "thread ahead": 4}
WARMUP_STEPS, STEPS = 20, 60


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.inputs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    system, rounds = SYSTEMS["resnet20"], []
    with tempfile.TemporaryDirectory() as folder:
        data = write_data(system, Path(folder) / "data")
        for i in range(repeats):
            found = {}
            for name, depth in list(PREFETCH_BATCHES.items())[:: 1 if i % 2 == 0 else -1]:
                found[f"inputs, {name}"] = inputs_rate(system, data, depth, STANDARD)
                found[f"training, {name}"] = training_rate(system, data, Path(folder) / f"{i}-{depth}", depth, STANDARD)
            rounds.append(found)
    rows = []
    for name in sorted(rounds[0]):
        pairs = [r[name] / r["training, direct"] for r in rounds]
        rate = statistics.median(r[name] for r in rounds)
        rows.append({"what": name, "samples/s": rate, "ratio": statistics.median(pairs), "least": min(pairs), "greatest": max(pairs)})
    publish("training_inputs", rows, {"model": system.title, "batch": system.batch_size, "repeats": repeats, "rounds": rounds})


def inputs_rate(system: System, data: Path, depth: int, augment: Plain, epochs: int = 2) -> float:
    """Return the samples per second of whole epochs that nobody uses, after one that warms up."""
    spec = parse_spec(plain_spec(system, 1, augment=augment, performance={"prefetch_batches": depth}))
    inputs, started = Inputs(data, "train", spec, LocalSession()), 0.0
    samples = 0
    for epoch in range(epochs + 1):
        if epoch == 1:
            started, samples = time.perf_counter(), 0
        for parts in inputs.training(epoch):
            samples += sum(len(part.batch["sample_id"]) for part in parts)
    return samples / (time.perf_counter() - started)


def training_rate(
    system: System, data: Path, directory: Path, depth: int, augment: Plain, warmup_steps: int = WARMUP_STEPS, steps: int = STEPS
) -> float:
    """Return the samples per second of our training on these inputs, after its warm-up."""
    log = Log(min(20, warmup_steps))
    ours.train(system, data, steps, log, directory, augment=augment, performance={"prefetch_batches": depth})
    return samples_per_second(log.entries, warmup_steps, system.batch_size)


if __name__ == "__main__":
    main()
