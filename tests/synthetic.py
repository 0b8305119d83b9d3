"""The definition of a data set that a test makes itself; its reader exists but is not called."""

from __future__ import annotations

from components.spec.parse import parse_data
from components.spec.schema import DataSpec


def synthetic_definition(name: str, num_classes: int = 3) -> DataSpec:
    """Return a definition of that name."""
    reader = {"_target_": "components.data.sources.digits.read_digits", "classes": ["never", "read"], "seed": 0}
    return parse_data(
        {
            "name": name,
            "title": name.title(),
            "licence": "none",
            "homepage": "none",
            "num_classes": num_classes,
            "fetch": {},
            "prepare": {**reader, "test_fraction": 0.2, "validation_fraction": 0.1},
        }
    )
