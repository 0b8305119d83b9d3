"""`python -m components.reporting RUN_DIR [--output FILE]`: draw the page of a run again, anywhere."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from components.errors import UserError
from components.reporting.page import render


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the page and print its path. Returns the exit code: 0, or 2 when the input is at fault."""
    parser = argparse.ArgumentParser(prog="python -m components.reporting", description="Draw the report of a run as one HTML file.")
    parser.add_argument("run_directory", type=Path, help="the run/ directory that the report stage wrote (it holds run.json)")
    parser.add_argument("--output", type=Path, help="the file to write (default: report.html beside run.json)")
    options = parser.parse_args(arguments)
    output = options.output or options.run_directory / "report.html"
    try:
        render(options.run_directory, output)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
