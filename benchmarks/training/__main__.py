"""Samples per second and memory of training, as ratios to the loop written by hand, and of ours to each peer.

    python -m benchmarks.training
    python -m benchmarks.training --only lenet5,resnet20

Contenders run in processes of their own with one thread, and take turns of a fraction of a second each (gate.py). A block is so many turns of
all of them; the table has the median, the least and the greatest ratio of five blocks. Warm-up, validation and checkpoints are in no figure.
Aims: ours at least 0.98 of the loop by hand, at least 1.0 of each peer, at most 1.05 of the memory. Lightning and Accelerate come with
`pip install .[bench]`; what is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import publish
from benchmarks.training.contender import CONTENDERS, Contender
from benchmarks.training.systems import SYSTEMS

Blocks = list[dict[str, dict[str, float]]]  # contender -> figures
BASE, OURS = "by hand", "modelyard"
BLOCKS, WARMUP_STEPS = 5, 80  # the watch looks at steps 0, 1, 2, 4 ... 64 and then at every 200th


@dataclass(frozen=True)
class Turns:
    """How a training is cut up: a turn is a fraction of a second; a block has 200 steps or a multiple, with one look of the watch in each 200."""

    steps: int
    in_a_block: int


TURNS = {"lenet5": Turns(40, 10), "resnet20": Turns(5, 40), "gpt": Turns(5, 40), "lstm": Turns(5, 40)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(SYSTEMS), help="systems, with commas between")
    arguments = parser.parse_args()
    unknown = set(arguments.only) - set(SYSTEMS)
    if unknown:
        parser.error(f"no such system: {', '.join(sorted(unknown))}; there are {', '.join(SYSTEMS)}")
    names = [name for name, (_, module) in CONTENDERS.items() if module is None or importlib.util.find_spec(module) is not None]
    rounds = {system: measure(system, names) for system in arguments.only}
    rows = [row for system, found in rounds.items() for row in table(SYSTEMS[system].title, found)]
    missing = [name for name in CONTENDERS if name not in names]
    notes: dict[str, Any] = {"unit": "rows (images, sequences) a second", "blocks": BLOCKS, "threads": 1, "not installed": missing}
    notes["turns"] = {system: asdict(turns) for system, turns in TURNS.items()}
    publish("training", rows, {**notes, "ours to each peer": against_peers(rounds), "block figures": rounds})


def measure(system: str, names: Sequence[str], turns: Turns | None = None) -> Blocks:
    """Run all contenders of a system in turn, block after block."""
    turns = turns or TURNS[system]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as open_things:
        data = Path(folder) / "data"
        write = f"from benchmarks.training.systems import *; write_data(SYSTEMS[{system!r}], Path({str(data)!r}))"
        subprocess.run([sys.executable, "-c", write], check=True)  # apart: a child's peak memory is never below its parent's
        warmup_turns = -(-WARMUP_STEPS // turns.steps)
        steps = turns.steps * (warmup_turns + BLOCKS * turns.in_a_block) + 1
        contenders = {name: Contender(name, system, data, steps, turns.steps) for name in names}
        for contender in contenders.values():
            open_things.callback(contender.close)
            for _ in range(warmup_turns):
                contender.turn()
        return [_block(contenders, turns, SYSTEMS[system].batch_size) for _ in range(BLOCKS)]


def _block(contenders: Mapping[str, Contender], turns: Turns, batch_size: int) -> dict[str, dict[str, float]]:
    """Let every contender take its turns and return their figures."""
    seconds, memory = dict.fromkeys(contenders, 0.0), dict.fromkeys(contenders, 0.0)
    for i in range(turns.in_a_block):
        for name in turned(list(contenders), i):
            told = contenders[name].turn()
            seconds[name] += told["seconds"]
            memory[name] = told["memory_gib"]
    samples = batch_size * turns.steps * turns.in_a_block
    return {name: {"samples_per_second": samples / seconds[name], "memory_gib": memory[name]} for name in contenders}


def turned(names: Sequence[str], turn: int) -> list[str]:
    """Return the order of a round: forward, backward, and each time another one first, so that nobody is always first after a pause."""
    start = turn // 2 % len(names)
    order = [*names[start:], *names[:start]]
    return order[::-1] if turn % 2 else order


def table(title: str, blocks: Blocks) -> list[dict[str, Any]]:
    """Return one row a contender: medians over blocks of the figures, and of the ratios to the loop by hand."""
    rows = []
    for name in blocks[0]:
        speeds = ratios(blocks, "samples_per_second", name, BASE)
        rows.append(
            {
                "system": title,
                "contender": name,
                "samples/s": statistics.median(r[name]["samples_per_second"] for r in blocks),
                "ratio": statistics.median(speeds),
                "least": min(speeds),
                "greatest": max(speeds),
                "memory MiB": 1024 * statistics.median(r[name]["memory_gib"] for r in blocks),
                "memory ratio": statistics.median(ratios(blocks, "memory_gib", name, BASE)),
            }
        )
    return rows


def against_peers(rounds: Mapping[str, Blocks]) -> dict[str, dict[str, float]]:
    """Return {system: {peer: median ratio of our speed to its}}."""
    peers = {system: [n for n in found[0] if n not in (BASE, OURS)] for system, found in rounds.items()}
    return {
        system: {peer: round(statistics.median(ratios(found, "samples_per_second", OURS, peer)), 4) for peer in peers[system]}
        for system, found in rounds.items()
    }


def ratios(blocks: Blocks, figure: str, name: str, other: str) -> list[float]:
    """Return a figure of one contender over that of another, block by block."""
    return [r[name][figure] / r[other][figure] for r in blocks]


if __name__ == "__main__":
    main()
