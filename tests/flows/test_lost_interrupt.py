"""A Ctrl-C is not lost in the code that it falls into: a destructor, where Python swallows it, or a place that turns it into an error of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import os, signal, sys, time
from flows import cli
from flows.commands import list as command

def press():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):  # the handler runs in here
        pass

{class_}

def listing(options):
    {act}
    time.sleep(300)
    return 0

command.execute = listing
sys.exit(cli.main(["list"]))
"""
_DESTRUCTOR = {"class_": "class Closing:\n    def __del__(self):\n        press()", "act": "Closing()"}
# Python 3.11 tells of whatever is raised in a __set_name__ as a RuntimeError; matplotlib has one that takes a while.
_SET_NAME = {"class_": "class Named:\n    def __set_name__(self, owner, name):\n        press()", "act": "type('Owner', (), {'name': Named()})"}


@pytest.mark.parametrize("place", [_DESTRUCTOR, _SET_NAME], ids=["destructor", "set_name"])
def test_the_command_is_interrupted(place):
    program = _PROGRAM.format(**place)
    done = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=200)
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith("interrupted") and "Traceback" not in done.stderr
