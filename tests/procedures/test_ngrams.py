"""Counting a text through the train job, against counting the text."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from safetensors.torch import load_file

from components.errors import UserError
from components.training.checkpoint import Checkpoints
from components.training.jobs import JOBS
from components.training.session import LocalSession
from tests.systems.small import make
from tests.systems.tiny.tinyshakespeare import CHARACTERS


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    return make("language/ngram", tmp_path_factory.mktemp("tiny"))


def train(system, directory, **changes):
    plain = system.plain() | changes
    JOBS["train"](LocalSession(), {"spec": plain, "data": str(system.data), "directory": str(directory)})
    path = Checkpoints(directory / "checkpoints").path("best")
    assert path is not None
    return load_file(path / "model.safetensors")


def test_every_pair_after_the_first_block_is_counted_once(system, tmp_path):
    counts = train(system, tmp_path)["counts"]
    text = (3 * (CHARACTERS + CHARACTERS[::-1]))[:195]  # the training half of 390
    rows = (195 - 8) // 4 + 1
    end = 4 * (rows + 1)  # what lies in the last block of a row
    expected = Counter(pairwise(text[3:end]))
    assert int(counts.sum()) == end - 4 == sum(expected.values())
    for (before, after), number in expected.items():
        assert counts[CHARACTERS.index(before), CHARACTERS.index(after)] == number


def test_another_model_is_refused(system, tmp_path):
    model = {"_target_": "components.models.language.gpt.GPT", "vocab_size": 65, "context_tokens": 8, "layers": 1, "heads": 1, "hidden_dim": 4}
    with pytest.raises(UserError, match="only an n-gram model can be counted"):
        train(system, tmp_path, model=model)
