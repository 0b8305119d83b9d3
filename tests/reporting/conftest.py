"""A small but real run: logistic regression on scikit-learn's digits, written as the stages would write it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import accuracy_score, log_loss

from components.files import write_json
from components.metrics.base import gather_samples
from components.metrics.classification import Classification
from components.metrics.select import select_samples
from components.reporting.page import render

BATCH_SIZE, EPOCHS, CLASSES = 64, 6, 10
SECRET = "sk-5f3c9a-do-not-print"
_CHROMIUM_ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a finished run. Tests that change it take `run_directory`."""
    directory = tmp_path_factory.mktemp("digits") / "run"
    directory.mkdir()
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order], labels[order]
    parts = {"train": slice(0, 1259), "validation": slice(1259, 1438), "test": slice(1438, None)}
    splits = {name: (images[part], labels[part]) for name, part in parts.items()}
    model, records = _train(splits)
    (directory / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    metrics = {name: _evaluate(model, *splits[name]) for name in ("validation", "test")}
    write_json(directory / "metrics.json", {name: metric.compute([metric.state()]) for name, metric in metrics.items()})
    _write_samples(directory, model, metrics["test"], *splits["test"])
    _write_sheet(directory, *splits["train"])
    best = max((record for record in records if record["kind"] == "epoch"), key=lambda record: record["validation/accuracy"])
    _write_records(directory, {name: len(part[1]) for name, part in splits.items()}, best)
    return directory


@pytest.fixture(scope="session")
def report(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of the run."""
    output = tmp_path_factory.mktemp("page") / "report.html"
    render(digits_run, output)
    return output


@pytest.fixture
def run_directory(digits_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the run that a test may change."""
    return Path(shutil.copytree(digits_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a headless Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine: the page is tested in a real browser or not at all")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=_CHROMIUM_ARGUMENTS.split())
        yield running
        running.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """Return an empty tab of the browser."""
    page = browser.new_page()
    yield page
    page.close()


def edit_json(path: Path, change: dict[str, Any]) -> None:
    """Replace top-level entries of a JSON file."""
    write_json(path, {**json.loads(path.read_text()), **change})


def _train(splits: dict[str, tuple[np.ndarray, np.ndarray]]) -> tuple[SGDClassifier, list[dict[str, Any]]]:
    images, labels = splits["train"]
    model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=1.0, alpha=1e-4, random_state=0)
    records: list[dict[str, Any]] = []
    steps = -(-len(labels) // BATCH_SIZE)
    for epoch in range(EPOCHS):
        for i in range(steps):
            step = epoch * steps + i + 1
            rate = 2e-3 * 0.5 * (1 + np.cos(np.pi * step / (EPOCHS * steps)))
            x, y = images[i * BATCH_SIZE : (i + 1) * BATCH_SIZE], labels[i * BATCH_SIZE : (i + 1) * BATCH_SIZE]
            model.set_params(eta0=rate).partial_fit(x, y, classes=np.arange(CLASSES))
            probabilities = model.predict_proba(x)
            gradient = x.T @ (probabilities - np.eye(CLASSES)[y]) / len(y)
            loss = log_loss(y, probabilities, labels=np.arange(CLASSES))
            common = {"step": step, "epoch": epoch, "seconds": 0.02 * step}
            speed = BATCH_SIZE / (0.02 + 0.01 * (i == 0))
            quantities = {"loss": loss, "learning_rate": rate, "gradient_norm": np.linalg.norm(gradient), "samples_per_second": speed}
            records.append({"kind": "step", **common, **{name: float(value) for name, value in quantities.items()}})
        scores = {}
        for split in ("train", "validation"):
            probabilities = model.predict_proba(splits[split][0])
            scores[f"{split}/loss"] = float(log_loss(splits[split][1], probabilities, labels=np.arange(CLASSES)))
            scores[f"{split}/accuracy"] = float(accuracy_score(splits[split][1], probabilities.argmax(axis=1)))
        scores["validation/brier_score"] = float(((probabilities - np.eye(CLASSES)[splits["validation"][1]]) ** 2).sum(axis=1).mean())
        records.append({"kind": "epoch", **common, **scores})
    return model, records


def _evaluate(model: SGDClassifier, images: np.ndarray, labels: np.ndarray) -> Classification:
    metric = Classification(CLASSES)
    probabilities = torch.from_numpy(model.predict_proba(images))
    losses = -probabilities.clamp(min=1e-12).log()[torch.arange(len(labels)), torch.from_numpy(labels)]
    batch = {"targets": torch.from_numpy(labels), "sample_id": torch.arange(len(labels))}
    metric.update({"probabilities": probabilities, "losses": losses}, batch)
    return metric


def _write_samples(directory: Path, model: SGDClassifier, metric: Classification, images: np.ndarray, labels: np.ndarray) -> None:
    gathered = gather_samples([metric.state()])
    chosen = select_samples(gathered["sample_id"], gathered["losses"], gathered["targets"] == gathered["predictions"]).numpy()
    np.savez(
        directory / "samples.npz",
        inputs=images[chosen].reshape(-1, 1, 8, 8).astype(np.uint8),
        targets=labels[chosen],
        predictions=gathered["predictions"].numpy()[chosen],
        probabilities=model.predict_proba(images[chosen]),
        losses=gathered["losses"].numpy()[chosen],
        sample_id=chosen,
    )


def _write_sheet(directory: Path, images: np.ndarray, labels: np.ndarray) -> None:
    rows = [np.hstack([images[labels == digit][i].reshape(8, 8) for i in range(16)]) for digit in range(CLASSES)]
    picture = Image.fromarray((np.vstack(rows) * 255 / 16).astype(np.uint8))
    picture.resize((picture.width * 4, picture.height * 4), Image.Resampling.NEAREST).save(directory / "sheet.png")


def _write_records(directory: Path, rows: dict[str, int], best: dict[str, Any]) -> None:
    card = {
        "format": 1,
        "name": "digits",
        "title": "Optical recognition of handwritten digits",
        "licence": "CC BY 4.0",
        "homepage": "https://archive.ics.uci.edu/dataset/80",
        "columns": {
            "inputs": {"dtype": "uint8", "shape": [1, 8, 8], "ragged": False, "classes": None},
            "targets": {"dtype": "int64", "shape": [], "ragged": False, "classes": [str(digit) for digit in range(CLASSES)]},
        },
        "splits": {name: {"rows": count, "shards": []} for name, count in rows.items()},
        "statistics": {"inputs": {"mean": [4.88], "std": [6.02], "minimum": 0, "maximum": 16}},
        "content_sha256": "8f2b6c1d90e4a7537c55b1f0a3d2e6489b7c0d1e2f3a4b5c6d7e8f9012345678",
    }
    checks = [
        {"name": "counts", "passed": True, "severity": "fault", "detail": f"{sum(rows.values())} rows, as the card says"},
        {"name": "split_leakage", "passed": True, "severity": "fault", "detail": "no sample stands in two splits"},
        {"name": "duplicates", "passed": False, "severity": "warning", "detail": "1 sample occurs twice in train: rows 17 and 403"},
    ]
    run = {
        "run_id": "linear-softmax-3f9ac07b12de4586",
        "experiment": "linear/softmax",
        "command": f"modelyard run experiment=linear/softmax tracking.api_key={SECRET}",
        "started": "2026-11-21T06:12:00+00:00",
        "git": {"commit": "038cb65d1f0e9a8b7c6d5e4f3a2b1c0d9e8f7a6b", "dirty": True},
        "environment": {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6", "WANDB_API_KEY": SECRET},
        "machine": {"cpu": "2 cores", "memory_gib": 15.6, "gpu": None},
        "spec": {
            "experiment": "linear/softmax",
            "model": {"_target_": "components.models.linear.softmax.Softmax", "num_classes": CLASSES, "key_dim": 16},
            "trainer": {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "clip": None},
            "tracking": {"name": "wandb", "api_key": SECRET, "url": f"https://me:{SECRET}@wandb.invalid/"},
            "expect": [{"metric": "test/accuracy", "minimum": 0.9}, {"metric": "test/expected_calibration_error", "maximum": 0.2}],
        },
        "stages": {
            "data": {"status": "reused", "seconds": 0.021, "key": "71c0aa2e5b9d4f13", "why": "found in the store, files verified"},
            "check": {"status": "ran", "seconds": 0.94, "key": "0b52c6f1d7e88a94", "why": "no result for this key"},
            "train": {"status": "ran", "seconds": 3.41, "key": "e8d20917c3ab56f4", "why": "trainer.epochs changed"},
            "evaluate": {"status": "ran", "seconds": 0.57, "key": "94af1e60b2d8c735", "why": "its input train changed"},
        },
    }
    summary = {
        "parameters": 650,
        "steps": best["step"] if best["epoch"] == EPOCHS - 1 else EPOCHS * 20,
        "samples_per_second": 3084.2,
        "seconds": {"data_wait": 0.31, "forward_backward": 2.2, "validation": 0.42, "checkpoint": 0.17},
        "best": {"step": best["step"], "metric": "validation/accuracy", "value": best["validation/accuracy"]},
        "stopped": "all epochs done",
    }
    write_json(directory / "card.json", card)
    write_json(directory / "check.json", {"checks": checks})
    write_json(directory / "summary.json", summary)
    write_json(directory / "run.json", run)
