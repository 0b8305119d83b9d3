"""`python -m flows` is `modelyard`."""

from flows.cli import entry

entry()
