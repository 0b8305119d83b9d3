"""The commands of the command line, a file each, with the same face: `HELP`, `arguments(parser)` where it takes any, `execute(options) -> exit code`.

Imports stay inside functions: an unchanged `modelyard run` must answer before torch, Ray or Prefect is imported, and `--help` before Hydra is.
"""

from __future__ import annotations

import argparse


def overrides(parser: argparse.ArgumentParser) -> None:
    """Take Hydra overrides, as most commands do."""
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="group=value or dotted.key=value")


def store_option(parser: argparse.ArgumentParser) -> None:
    """Let a command name the store, as those do that compose no run."""
    parser.add_argument("--store", metavar="FOLDER", help="the store's folder; the configuration's without it")
