"""Samples per second of the training loop against a loop written by hand: the same model, batch, optimizer, data, transforms and threads.

    python -m benchmarks.loop

One process, LeNet-5 on 28 x 28 images in batches of 64. Both standardise and resize each batch; validation and checkpoints are outside both figures.
Runs alternate; medians of 5.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.record import publish
from components.data.card import Column
from components.data.columns import Ragged, SourceData
from components.data.dataset import ShardDataset
from components.data.prepare import write_data_set
from components.files import read_json
from components.models.cnn.lenet5 import LeNet5
from components.spec.parse import to_plain
from components.training.jobs import JOBS
from components.training.session import LocalSession
from flows.compose import compose

ROOT = Path(__file__).resolve().parents[1]
REPEATS = 5
EPOCHS = 2
TRAINING_ROWS = 12_800
BATCH = 64


def main() -> None:
    """Measure and print."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = _prepare(Path(folder))
        for threads in (1, 2):
            torch.set_num_threads(threads)
            _by_hand(data), _ours(data, Path(folder) / f"warm{threads}")
            by_hand, ours = [], []
            for i in range(REPEATS):
                by_hand.append(_by_hand(data))
                ours.append(_ours(data, Path(folder) / f"{threads}-{i}"))
            row: dict[str, Any] = {"threads": threads, "by hand": statistics.median(by_hand), "modelyard": statistics.median(ours)}
            pairs = [mine / other for mine, other in zip(ours, by_hand, strict=True)]
            rows.append({**row, "ratio": statistics.median(pairs), "least": min(pairs), "greatest": max(pairs)})
    publish("loop", rows, {"unit": "samples per second", "model": "LeNet-5", "batch": BATCH, "epochs": EPOCHS, "repeats": REPEATS})


def _prepare(folder: Path) -> Path:
    """MNIST's shapes with random pixels: the speed does not depend on what the images show."""
    spec = compose(ROOT, ["data=mnist"])
    rng = np.random.default_rng(0)
    splits: dict[str, dict[str, np.ndarray[Any, Any] | Ragged]] = {
        name: {"inputs": rng.integers(0, 256, (rows, 1, 28, 28), dtype=np.uint8), "targets": np.arange(rows) % 10}
        for name, rows in (("train", TRAINING_ROWS), ("validation", 500), ("test", 500))
    }
    columns = {"inputs": Column("uint8", (1, 28, 28)), "targets": Column("int64", classes=tuple("0123456789"))}
    write_data_set(spec.data, SourceData(columns, splits), {}, folder / "prepared")
    return folder / "prepared"


def _ours(data: Path, directory: Path) -> float:
    overrides = ["cluster=inline", "data=mnist", "augment.train=[]", f"trainer.epochs={EPOCHS}", f"trainer.batch_size={BATCH}"]
    config = {"spec": to_plain(compose(ROOT, overrides)), "data": str(data), "directory": str(directory)}
    JOBS["train"](LocalSession(), config)
    seconds = read_json(directory / "summary.json")["seconds"]
    spent: float = seconds["data_wait"] + seconds["forward_backward"]
    return EPOCHS * ShardDataset(data, "train").rows / spent


def _by_hand(data: Path) -> float:
    columns = ShardDataset(data, "train").fetch(np.arange(ShardDataset(data, "train").rows))
    inputs, targets = columns["inputs"], columns["targets"]
    mean, std = inputs.float().mean(), inputs.float().std()
    torch.manual_seed(0)
    model = LeNet5()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * -(-len(inputs) // BATCH))
    started = time.perf_counter()
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(inputs)), BATCH):
            batch = F.interpolate((inputs[rows].float() - mean) / std, size=(32, 32), mode="bilinear")
            loss = F.cross_entropy(model(batch), targets[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            scheduler.step()
    return EPOCHS * len(inputs) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
