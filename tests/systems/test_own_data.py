"""docs/own-data.md, block by block: a user's files, the file of at most 20 lines that the page shows, and the command beneath it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PAGE = (Path(__file__).parents[2] / "docs" / "own-data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n# (conf/data/(\w+)\.yaml)\n(.*?)```\n\n`modelyard run (.*?)`", PAGE, re.DOTALL)
SHORT = ("cluster=inline", "tracking=disabled", "debug=fast", "trainer.batch_size=4", "evaluate.batch_size=4")
LENIENT = ("check.min_rows=1", "check.max_imbalance=1e9")  # a dozen rows are no data set


def photo(path: Path, rng: np.random.Generator, side: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (side, side + 8, 3), dtype=np.uint8)).save(path)


def pets(root: Path, rng: np.random.Generator) -> None:
    for name in ("cat", "dog"):
        for i in range(10):
            photo(root / "photos" / name / f"{i}.png", rng)


def prices(root: Path, rng: np.random.Generator) -> None:
    rows = [f"{area:.1f},{rooms},{3 * area + 10 * rooms:.1f}" for area, rooms in zip(rng.uniform(40, 200, 30), rng.integers(1, 7, 30), strict=True)]
    (root / "prices.csv").write_text("\n".join(["area,rooms,price", *rows]) + "\n")


def parts(root: Path, rng: np.random.Generator) -> None:
    images, annotations = [], []
    for i in range(15):
        photo(root / "belt" / "images" / f"{i}.png", rng)
        images.append({"id": i, "file_name": f"{i}.png", "width": 48, "height": 40})
        annotations.append({"id": i, "image_id": i, "category_id": 1 + i % 2, "bbox": [4, 5, 12 + i, 10], "iscrowd": 0})
    categories = [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}]
    (root / "belt" / "labels.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def letters(root: Path, rng: np.random.Generator) -> None:
    alphabet = np.array(list("abcdefghijklmnopqrstuvwxyz "))
    (root / "letters.txt").write_text("".join(alphabet) + "".join(rng.choice(alphabet, 3000)))


@pytest.fixture(scope="module")
def workspace(make_workspace):
    return make_workspace()


@pytest.mark.parametrize(("file", "name", "text", "command"), BLOCKS, ids=[block[1] for block in BLOCKS])
def test_a_file_of_twenty_lines_and_no_code(workspace, file, name, text, command):
    assert len(text.splitlines()) <= 20
    globals()[name](workspace.root, np.random.default_rng(0))
    (workspace.root / file).write_text(text)
    result = workspace.result("run", *command.split(), *SHORT, *LENIENT)
    assert {stage["status"] for stage in result["stages"].values()} == {"ran"}
    page = Path(result["report"]).read_text(encoding="utf-8")
    assert re.search(r"title: (.*)", text)[1] in page


def test_all_four_kinds_are_on_the_page():
    assert {block[1] for block in BLOCKS} == {"pets", "prices", "parts", "letters"}
