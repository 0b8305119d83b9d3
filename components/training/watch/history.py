"""The looks before the present one: what lasts is a fault, what passes is noise."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable

from components.training.watch.look import Look

WINDOW = 5  # looks; the first five are at steps 0, 1, 2, 4 and 8
LONG = 10  # looks, for what a sound run may do for a while


class History:
    """The last numbers of each layer, the present look's included, and the first one."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], deque[float]] = defaultdict(lambda: deque(maxlen=LONG))
        self._first: dict[tuple[str, str], float] = {}
        self._largest: dict[tuple[str, str], float] = {}

    def add(self, look: Look) -> None:
        """Take the present look."""
        for quantity, layers in look.items():
            for layer, value in layers.items():
                key = (quantity, layer)
                self._last[key].append(value)
                self._first.setdefault(key, value)
                self._largest[key] = max(value, self._largest.get(key, value))

    def always(self, quantity: str, layer: str, condition: Callable[[float], bool], looks: int = WINDOW) -> bool:
        """Say whether a condition held at each of the last looks, of which there have been enough."""
        values = list(self._last[quantity, layer])[-looks:]
        return len(values) == looks and all(condition(value) for value in values)

    def before(self, quantity: str, layer: str) -> list[float]:
        """Return the last numbers without the present one, oldest first."""
        return list(self._last[quantity, layer])[:-1]

    def first(self, quantity: str, layer: str) -> float:
        """Return the first number."""
        return self._first[quantity, layer]

    def largest(self, quantity: str, layer: str) -> float:
        """Return the largest number ever."""
        return self._largest[quantity, layer]
