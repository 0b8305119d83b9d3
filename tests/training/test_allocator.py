"""Freed memory stays with the process: counted in page faults, in a process of its own, because it is for the process's life."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import resource, sys, torch
from components.training.allocator import keep_freed_memory
torch.set_num_threads(1)
told = keep_freed_memory() if sys.argv[1] == "keep" else None
def step():
    kept = [torch.ones(1 << 18) for _ in range(8)]  # 8 MiB, taken and given back
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    step()
print(told, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> tuple[str, int]:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", _PROGRAM, mode], cwd=root, capture_output=True, text=True, check=True)
    told, count = done.stdout.split()
    return told, int(count)


def test_memory_that_is_taken_again_costs_no_page_faults():
    """8 MiB are 2,048 pages: taken anew 50 times, they would be 102,400 faults."""
    told, kept = faults("keep")
    if told == "False":
        pytest.skip("needs glibc")
    assert kept < 100
    plain = faults("as it is")[1]
    if plain == 0:
        pytest.skip("this kernel counts no page faults")  # gVisor, for one
    assert plain > 1000  # else there would be nothing to mend
