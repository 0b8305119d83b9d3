"""Run jobs, one after the other, without Ray, Prefect or Hydra, in one process or under torchrun:

    python -m components.training JOB.json
    torchrun --nproc-per-node 8 -m components.training TRAIN.json EVALUATE.json

A JOB.json is `{"job": "train", "config": {"spec": ..., "data": ..., "directory": ...}}`; `modelyard plan --json` prints the spec of a command line.
Exit codes: 0 done, 1 failed, 2 the input was wrong, 130 interrupted (saved; the same command goes on).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from components.errors import RunError, UserError
from components.files import read_json
from components.training.jobs import JOBS
from components.training.notices import graceful
from components.training.session import LocalSession


def main() -> int:
    """Join the group that torchrun describes, if any, and run the jobs."""
    parser = argparse.ArgumentParser(prog="python -m components.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", type=Path, nargs="+", metavar="JOB", help="a JSON file")
    letters = [read_json(path) for path in parser.parse_args().jobs]
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo")
    try:
        for letter in letters:
            with graceful() as told:
                JOBS[letter["job"]](LocalSession(device, told), letter["config"])
    except (UserError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt as error:
        print(f"{error or 'interrupted'}; the same command goes on from there", file=sys.stderr)
        return 130
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
