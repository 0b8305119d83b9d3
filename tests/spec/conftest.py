"""A small valid specification in plain data, without Hydra."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def plain() -> dict[str, Any]:
    return {
        "experiment": "cnn/lenet5",
        "data": {
            "name": "digits",
            "title": "Digits",
            "licence": "CC BY 4.0",
            "homepage": "none",
            "fetch": {"package": "sklearn", "archives": {"digits.csv.gz": "sha256:" + "0" * 64}, "files": {"digits.csv": "0" * 64}},
            "prepare": {
                "_target_": "components.data.sources.digits.read_digits",
                "classes": ["0", "1"],
                "test_fraction": 0.2,
                "validation_fraction": 0.1,
                "seed": 0,
            },
        },
        "model": {"_target_": "components.models.cnn.lenet5.LeNet5", "num_classes": 10},
        "task": {"_target_": "components.tasks.classification.Classification"},
        "loss": {"_target_": "components.losses.classification.CrossEntropy"},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.001},
        "schedule": {"_target_": "components.optim.schedules.cosine"},
        "augment": {"train": [{"_target_": "components.data.transforms.RandomShift", "pixels": 1}]},
        "cluster": {"backend": "inline"},
        "expect": {"digits": {"test/accuracy": {"minimum": 0.97}}, "mnist": {"test/accuracy": {"minimum": 0.5}}},
    }
