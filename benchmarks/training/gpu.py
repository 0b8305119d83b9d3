"""Training on a GPU against the loop written by hand, bf16, with model FLOPs utilisation. Needs torch, numpy and safetensors, nothing else.

    python -m benchmarks.training.gpu
    python -m benchmarks.training.gpu --tiny       # on a CPU: does it run?

GPT-2 small (124 M parameters, 1,024 tokens), and ResNet-56 at 32 x 32 in batches of 512: components/ has no ResNet-50, and a specification names
nothing outside it. Both loops run in this process, in turn; memory is the allocator's peak. MFU is the operations of forward and backward, counted
on the meta device, over the GPU's published peak (Chowdhery et al. 2022, "PaLM", appendix B).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import publish, show
from benchmarks.training import by_hand, ours
from benchmarks.training.log import Log, samples_per_second
from benchmarks.training.systems import SYSTEMS, System, plain_spec, write_data
from components.spec.parse import parse_spec
from components.training.flops import peak_flops, step_flops
from components.training.inputs import Inputs
from components.training.session import LocalSession
from components.training.system import build_system

_GPT = {"vocab_size": 50_257, "context_tokens": 1_024, "layers": 12, "heads": 12, "hidden_dim": 768}
LARGE = {
    "resnet56": replace(
        SYSTEMS["resnet20"],
        title="ResNet-56, 32 x 32",
        model={**SYSTEMS["resnet20"].model, "depth": 56},
        batch_size=512,
        rows=25_600,
        precision="bf16",
    ),
    "gpt2": replace(
        SYSTEMS["gpt"],
        title="GPT-2 small, 1,024 tokens",
        model={**SYSTEMS["gpt"].model, **_GPT},
        batch_size=16,
        rows=1_600,
        shape=(1_025,),
        classes=50_257,
        precision="bf16",
    ),
}
TINY = {
    "resnet8": replace(LARGE["resnet56"], title="ResNet-8, 32 x 32", model={**SYSTEMS["resnet20"].model, "depth": 8}, batch_size=8, rows=32),
    "gpt": replace(SYSTEMS["gpt"], title="GPT, 1 layer", model={**SYSTEMS["gpt"].model, "layers": 1}, batch_size=4, rows=32, precision="bf16"),
}
LOG_EVERY_STEPS, WARMUP_STEPS, STEPS = 20, 100, 300


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="small models, a few steps, on the CPU")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    systems, steps = (TINY, (2, 6)) if arguments.tiny else (LARGE, (WARMUP_STEPS, STEPS))
    device = torch.device("cpu") if arguments.tiny else torch.device("cuda", 0)
    rows = [row for system in systems.values() for row in measure(system, device, arguments.repeats, *steps)]
    name = "cpu" if arguments.tiny else torch.cuda.get_device_name(device)
    notes = {"device": name, "precision": "bf16", "repeats": arguments.repeats, "steps": steps}
    if arguments.tiny:  # no result of anything
        show(rows, notes)
    else:
        publish("training_gpu", rows, notes)


def measure(system: System, device: torch.device, repeats: int, warmup_steps: int, steps: int) -> list[dict[str, Any]]:
    """Return a row for the loop by hand and one for ours."""
    rounds: list[dict[str, tuple[float, float]]] = []  # name -> (samples per second, peak GiB)
    with tempfile.TemporaryDirectory() as folder:
        data = write_data(system, Path(folder) / "data")
        operations = sample_flops(system, data)
        for i in range(repeats):
            order = ("by hand", "modelyard") if i % 2 == 0 else ("modelyard", "by hand")
            rounds.append({name: _once(name, system, data, Path(folder) / str(i), device, warmup_steps, steps) for name in order})
    peak = peak_flops(torch.cuda.get_device_name(device), "bf16") if device.type == "cuda" else None
    return [_row(system, name, rounds, operations, peak) for name in ("by hand", "modelyard")]


def sample_flops(system: System, data: Path) -> float | None:
    """Return the floating-point operations of a training step for each row of its batch."""
    spec, session = parse_spec(plain_spec(system, steps=1)), LocalSession()
    inputs = Inputs(data, "train", spec, session)
    model, task = build_system(spec, inputs.dataset.card, session)
    counted = step_flops(task, model, next(inputs.training(epoch=0))[0].batch)
    return None if counted is None else counted / system.batch_size


def _once(name: str, system: System, data: Path, directory: Path, device: torch.device, warmup_steps: int, steps: int) -> tuple[float, float]:
    log = Log(min(LOG_EVERY_STEPS, warmup_steps), device)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    if name == "by hand":
        by_hand.train(system, data, steps, log, device)
    else:
        ours.train(system, data, steps, log, directory, device)
    return samples_per_second(log.entries, warmup_steps, system.batch_size), log.entries[-1].peak_gib


def _row(system: System, name: str, rounds: list[dict[str, tuple[float, float]]], operations: float | None, peak: float | None) -> dict[str, Any]:
    rate = statistics.median(r[name][0] for r in rounds)
    pairs = [r[name][0] / r["by hand"][0] for r in rounds]
    return {
        "system": system.title,
        "contender": name,
        "samples/s": rate,
        "ratio": statistics.median(pairs),
        "least": min(pairs),
        "greatest": max(pairs),
        "TFLOP/s": None if operations is None else rate * operations / 1e12,
        "MFU %": None if operations is None or peak is None else 100.0 * rate * operations / peak,
        "peak GiB": statistics.median(r[name][1] for r in rounds),
    }


if __name__ == "__main__":
    main()
