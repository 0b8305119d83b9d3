"""The alternative that benchmarks.overhead measures against: the same model and recipe in one bare Ray Train script.

No versions, no checks, no flow, no store, no tracking, no report: scikit-learn's digits, LeNet-5, two DDP workers, a validation pass an epoch,
the best weights kept, a test accuracy at the end. Prints `first step` and `end` stamps in seconds since the epoch.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
import torch.nn.functional as F
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset


def load() -> tuple[TensorDataset, TensorDataset, TensorDataset]:
    """Digits as (1, 32, 32) float images: 1,258 to train, 180 to validate, 359 to test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    rest, x_test, y_rest, y_test = train_test_split(images, labels, test_size=359, stratify=labels, random_state=0)
    x_train, x_validation, y_train, y_validation = train_test_split(rest, y_rest, test_size=180, stratify=y_rest, random_state=0)
    mean, std = x_train.mean(), x_train.std()

    def dataset(x: Any, y: Any) -> TensorDataset:
        pixels = torch.tensor((x - mean) / std, dtype=torch.float32).view(-1, 1, 8, 8)
        return TensorDataset(F.interpolate(pixels, size=32, mode="bilinear"), torch.tensor(y))

    return dataset(x_train, y_train), dataset(x_validation, y_validation), dataset(x_test, y_test)


def accuracy(model: torch.nn.Module, data: TensorDataset) -> Tensor:
    """Share of right predictions, scalar."""
    model.eval()
    with torch.no_grad():
        right: Tensor = model(data.tensors[0]).argmax(1) == data.tensors[1]
        return right.float().mean()


def train(config: dict[str, Any]) -> None:
    """One worker: DDP through Ray's own helpers, as its documentation shows."""
    from components.models.cnn.lenet5 import LeNet5

    torch.manual_seed(0)
    training, validation, test = load()
    model = ray.train.torch.prepare_model(LeNet5())
    loader = ray.train.torch.prepare_data_loader(DataLoader(training, batch_size=32, shuffle=True))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config["epochs"] * len(loader))
    best, stamped = -1.0, False
    for epoch in range(config["epochs"]):
        loader.sampler.set_epoch(epoch)
        model.train()
        for inputs, targets in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            scheduler.step()
            if not stamped:
                stamped = True
                if ray.train.get_context().get_world_rank() == 0:
                    with open(config["stamp"], "w") as stream:
                        stream.write(str(time.time()))
        score = float(accuracy(model, validation))
        if score > best:
            best = score
            torch.save(model.state_dict(), config["stamp"] + f".{ray.train.get_context().get_world_rank()}.pt")
    ray.train.report({"test_accuracy": float(accuracy(model, test))})


def main(epochs: int) -> None:
    """Start a local cluster, train, print the stamps."""
    with tempfile.TemporaryDirectory() as folder:
        ray.init(log_to_driver=False, include_dashboard=False)
        TorchTrainer(
            train,
            train_loop_config={"epochs": epochs, "stamp": f"{folder}/stamp"},
            scaling_config=ScalingConfig(num_workers=2),
            run_config=RunConfig(storage_path=folder, name="bare"),
        ).fit()
        with open(f"{folder}/stamp") as stream:
            print("first step", stream.read())
        ray.shutdown()
        print("end", time.time())


if __name__ == "__main__":
    main(int(sys.argv[1]))
