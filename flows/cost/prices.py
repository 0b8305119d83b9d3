"""What a device costs in money: conf/prices.yaml. No stage depends on it."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.data.params import read_yaml
from components.errors import UserError

PRICES = Path("conf") / "prices.yaml"


@dataclass(frozen=True)
class Prices:
    """Money for an hour of a device, by shell patterns of its name, the first that fits; `cpu` is a core."""

    currency: str
    per_hour: dict[str, float]
    is_example: bool = False

    def of(self, device: str) -> float | None:
        """Return the price of an hour; None where no pattern fits."""
        return next((price for pattern, price in self.per_hour.items() if fnmatch.fnmatchcase(device.lower(), pattern.lower())), None)


def read_prices(root: Path) -> Prices | None:
    """Return a project's price table; None where it has none.

    Raises:
        UserError: it is no such table.
    """
    path = root / PRICES
    if not path.is_file():
        return None
    plain = read_yaml(path)
    expected = "currency: EUR, example: false, per_hour: {pattern of a device's name: money, ...}"
    try:
        prices = Prices(str(plain["currency"]), {str(k): _price(v) for k, v in plain["per_hour"].items()}, bool(plain.get("example", False)))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError("the price table cannot be read", received=f"{error} in {path}", expected=expected) from error
    return prices


def _price(value: Any) -> float:
    price = float(value)
    if not 0.0 <= price < float("inf"):
        raise ValueError(f"a price of {value}")
    return price
