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
def first_of_its_kind(small) -> Callable[[str], bool]:
    """Tell of an experiment whether it is the first one of its task and data set."""
    kinds: dict[tuple[str, str], str] = {}

    def is_first(experiment: str) -> bool:
        spec = small(experiment).spec
        return kinds.setdefault((spec.task.name, spec.data.name), experiment) == experiment

    return is_first


@pytest.fixture(scope="session")
def group(tmp_path_factory) -> Iterator[Group]:
    workers = Group(2, tmp_path_factory.mktemp("group"))
    yield workers
    workers.close()
