"""A Ctrl-C that falls into a destructor, where Python swallows it, is not lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import os, signal, sys, time
from flows import cli
from flows.commands import list as command

class Closing:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # the handler runs in here
            pass

def listing(options):
    Closing()
    time.sleep(20)
    return 0

command.execute = listing
sys.exit(cli.main(["list"]))
"""


def test_it_is_pressed_again_once_the_destructor_has_ended():
    done = subprocess.run([sys.executable, "-c", _PROGRAM], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=15)
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith("interrupted") and "Traceback" not in done.stderr
