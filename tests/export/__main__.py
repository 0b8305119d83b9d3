"""`python -m tests.export [EXPERIMENT ...]`: which experiments of conf/ can be exported as a program, on tiny data. The table of docs/export.md."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.export.trained import train_and_export
from tests.systems.small import EXPERIMENTS


def main(experiments: list[str]) -> int:
    """Print one row an experiment."""
    logging.disable(logging.CRITICAL)  # torch.export prints graphs of hundreds of lines
    print("| experiment | program | compared rows | largest difference | export seconds | why |\n|---|---|---|---|---|---|")
    for experiment in experiments:
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            program = train_and_export(experiment, Path(folder)).described["program"]
            seconds = time.monotonic() - started
        limits = program["batch"] and f"{program['batch']['minimum']}..{program['batch']['maximum'] or ''} rows"
        difference = "bit-equal" if program["equal"] else f"{max(program['difference'].values(), default=0):.1g}"
        cells = [experiment, limits or "no", program["rows"], difference if limits else "", f"{seconds:.1f}", program["reason"] or ""]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(EXPERIMENTS)))
