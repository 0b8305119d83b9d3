"""More shards than a process may hold open: it asks for more, and says so where it may not have them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from components.data.card import Column
from components.data.columns import SourceData
from components.data.prepare import write_data_set
from tests.synthetic import synthetic_definition

ROOT = Path(__file__).parents[2]
ROWS = 150  # of 600 kB, so that each is a shard, of two files
CODE = """
import resource, sys
import numpy as np
from dataclasses import replace
from pathlib import Path
from components.data.dataset import ShardDataset
from components.errors import UserError
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
dataset = ShardDataset(Path(sys.argv[1]), "train")
assert dataset.fetch(np.array([149, 0]))["targets"].tolist() == [149, 0]
resource.setrlimit(resource.RLIMIT_NOFILE, (400, 700))
try:
    ShardDataset(Path(sys.argv[1]), "train")
except UserError as error:
    print(error)
"""


def test_a_process_asks_for_more_files_and_says_when_it_may_not_have_them(tmp_path):
    wide = np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (ROWS, 1, 600_000))
    columns = {"inputs": Column("uint8", wide.shape[1:]), "targets": Column("int64")}
    data = SourceData(columns, {"train": {"inputs": wide, "targets": np.arange(ROWS)}})
    write_data_set(replace(synthetic_definition("many"), shard_mib=1), data, {}, tmp_path / "many")
    done = subprocess.run([sys.executable, "-c", CODE, str(tmp_path / "many")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "more shards than this process may hold open" in done.stdout and "300 files" in done.stdout and "data.shard_mib" in done.stdout
