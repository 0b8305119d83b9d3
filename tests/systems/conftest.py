"""Each experiment made small, once a session, and two worker processes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pytest

from tests.systems.small import Small, make
from tests.training.group import Group


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Callable[[str], Small]:
    directory = tmp_path_factory.mktemp("tiny")
    return functools.cache(lambda experiment: make(experiment, directory))


@pytest.fixture(scope="session")
def group(tmp_path_factory) -> Iterator[Group]:
    workers = Group(2, tmp_path_factory.mktemp("group"))
    yield workers
    workers.close()
