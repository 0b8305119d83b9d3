"""Lengths of training: `3ep`, `500st`, `0.1dur`."""

from __future__ import annotations

import pytest

from components.errors import UserError
from components.spec.duration import parse_duration


@pytest.mark.parametrize(
    ("text", "steps"),
    [("3ep", 30), ("0.5ep", 5), ("0.25ep", 3), ("500st", 500), ("0st", 0), ("0.1dur", 20), ("1dur", 200), ("0.0049dur", 1)],
)
def test_a_length_in_steps_is_rounded_to_the_nearest(text, steps):
    """An epoch of 10 steps, a run of 200; a quarter of 10 is 2.5, rounded up."""
    assert parse_duration(text, "x").steps(steps_per_epoch=10, total_steps=200) == steps


@pytest.mark.parametrize("text", ["3", "ep", "3 ep", "-1ep", "1e3st", "2.5st", "1.1dur", "3epochs", 3, None, True, ""])
def test_anything_else_is_refused_with_its_path(text):
    with pytest.raises(UserError, match=r"trainer\.duration is no length of training") as caught:
        parse_duration(text, "trainer.duration")
    assert repr(text) in str(caught.value)
