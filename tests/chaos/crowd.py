"""Many pipelines started at once on one store: each stage runs once in all, and nobody fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

from flows.stages import STAGES
from tests.chaos.arena import Arena
from tests.chaos.verdict import PATIENCE_SECONDS, ledger_complaints, leftovers, stage_keys

COMMAND = ("run", "debug=fast", "cluster=inline", "tracking=disabled")


def crowd(arena: Arena, count: int, timeout_seconds: float) -> Iterator[str]:
    """Start the command so many times at once and say what is wrong in the end; nothing when all is well."""
    arena.put_back(None)
    started = []
    for number in range(count):
        with open(arena.folder / f"output-{number}", "wb") as output:
            command = [sys.executable, "-m", "flows", *COMMAND, "--json"]
            env = arena.workspace.env
            started.append(subprocess.Popen(command, cwd=arena.root, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT))
    codes = [process.wait(timeout_seconds) for process in started]
    texts = [(arena.folder / f"output-{number}").read_text(errors="replace") for number in range(count)]
    for number, code in enumerate(codes):
        if code != 0:
            yield f"number {number} ended with {code}: {texts[number].splitlines()[-3:]}"
    results = [json.loads(text.splitlines()[-1]) for text, code in zip(texts, codes, strict=True) if code == 0]
    ran = Counter(name for result in results for name, stage in result["stages"].items() if stage["status"] == "ran")
    if ran != dict.fromkeys(STAGES, 1):
        yield f"stages that ran: {dict(ran)}"
    if len({json.dumps(result["metrics"]) for result in results}) != 1:
        yield "the metrics differ"
    yield from ledger_complaints(arena.root / "store", stage_keys(arena.root / "store"))
    if left := arena.left_running(PATIENCE_SECONDS):
        yield f"still running: {left}"
    if files := leftovers(arena):
        yield f"left: {sorted(files)}"
