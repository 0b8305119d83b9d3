"""What of two data sets must be alike for a champion of the one to be judged on the other."""

from __future__ import annotations

import pytest

from components.data.card import Card, Column
from flows.registry.rival import _differences

IMAGES = {"inputs": Column("uint8", (3, 8, 8)), "targets": Column("int64", classes=("cat", "dog")), "camera": Column("int64", classes=("north",))}


def card(**columns):
    return Card("pets", "Pets", "none", "none", {}, columns, {}, {})


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({}, []),
        ({"hospital": Column("int64", classes=("a", "b"))}, []),  # the champion does not read it
        ({"camera": Column("int64", classes=("north", "south"))}, []),  # only tells slices from each other
        ({"camera": None}, []),
        ({"targets": None}, ["column targets is gone"]),
        ({"inputs": Column("uint8", (1, 8, 8))}, ["column inputs was uint8 (3, 8, 8), is uint8 (1, 8, 8)"]),
        ({"inputs": Column("uint8", (3, 8, 8), ragged=True)}, ["column inputs was uint8 (3, 8, 8), is uint8 (3, 8, 8) a value"]),
        ({"targets": Column("int64", classes=("ape", "cat", "dog"))}, ["column targets gained ape (2 classes, now 3)"]),
        ({"targets": Column("int64", classes=("cat", "eel"))}, ["column targets gained eel and lost dog (2 classes, now 2)"]),
        ({"targets": Column("int64", classes=("dog", "cat"))}, ["column targets has its classes in another order"]),
    ],
)
def test_what_differs(now, told):
    found = {name: column for name, column in {**IMAGES, **now}.items() if column is not None}
    assert list(_differences(card(**IMAGES), card(**found))) == told
