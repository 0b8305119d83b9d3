"""Two gloo workers of one thread each against one worker of one thread: ResNet-20, the same global batch of 128.

    python -m benchmarks.training.scaling

Both start as a user would start them, `torch.distributed.run ... -m components.training JOB.json`; the rate is that of the run's own journal after
its warm-up. Aim: at least 1.85.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.record import publish
from benchmarks.training.contender import LOG_EVERY_STEPS, one_thread
from benchmarks.training.systems import SYSTEMS, System, plain_spec, write_data

WARMUP_STEPS, STEPS = 20, 80


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    system = replace(SYSTEMS["resnet20"], batch_size=128)
    rounds: list[dict[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = write_data(system, Path(folder) / "data")
        for i in range(repeats):
            order = (1, 2) if i % 2 == 0 else (2, 1)
            rounds.append({workers: rate(system, data, Path(folder) / f"{i}-{workers}", workers) for workers in order})
    pairs = [r[2] / r[1] for r in rounds]
    rows = [
        {"workers": 1, "samples/s": statistics.median(r[1] for r in rounds), "ratio": 1.0, "least": 1.0, "greatest": 1.0},
        {
            "workers": 2,
            "samples/s": statistics.median(r[2] for r in rounds),
            "ratio": statistics.median(pairs),
            "least": min(pairs),
            "greatest": max(pairs),
        },
    ]
    publish("training_scaling", rows, {"model": system.title, "global batch": system.batch_size, "repeats": repeats, "rounds": rounds})


def rate(system: System, data: Path, directory: Path, workers: int, warmup_steps: int = WARMUP_STEPS, steps: int = STEPS) -> float:
    """Return samples per second of a training on so many workers, in `directory`, after its warm-up.

    Raises:
        RuntimeError: the job failed; its own words are in the message.
    """
    from benchmarks.training.log import samples_per_second
    from benchmarks.training.ours import entries

    directory.mkdir()
    config = {"spec": plain_spec(system, steps, min(LOG_EVERY_STEPS, warmup_steps)), "data": str(data), "directory": str(directory)}
    (directory / "job.json").write_text(json.dumps({"job": "train", "config": config}))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(workers)]
    command = [sys.executable, *launcher, "-m", "components.training", str(directory / "job.json")]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[2], env=one_thread(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{workers} workers failed:\n{done.stderr}")
    return samples_per_second(entries(directory), warmup_steps, system.batch_size)


if __name__ == "__main__":
    main()
