"""What a search may vary: the configuration's own tree, with a range in place of each value.

    space:
      optimizer:
        lr: {log_uniform: [1.0e-4, 1.0e-1]}
      trainer:
        batch_size: {choice: [32, 64, 128]}

A range is a mapping of one of the kinds below to its bounds (both included) or its values.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from components.errors import UserError, nearest
from components.spec.schema import TuneSpec

Kind = Literal["uniform", "log_uniform", "integer", "log_integer", "choice"]
KINDS: tuple[str, ...] = get_args(Kind)
_EXPECTED = "such as {log_uniform: [1.0e-4, 1.0e-1]}, {integer: [2, 8]} or {choice: [32, 64]}"


@dataclass(frozen=True)
class Range:
    """The values that one key may take.

    Args:
        kind: how they are spread.
        values: `(low, high)`, both included, or the choices.
    """

    kind: Kind
    values: tuple[Any, ...]

    def draw(self, generator: random.Random) -> Any:
        """Return a value at random."""
        if self.kind == "choice":
            return generator.choice(self.values)
        return self.at(generator.random())

    def at(self, position: float) -> Any:
        """Return the value at a position in [0, 1] of the range, in the scale in which it is spread."""
        if self.kind == "choice":
            return self.values[min(int(position * len(self.values)), len(self.values) - 1)]
        low, high = self.values
        if self.kind.startswith("log"):
            value = math.exp(math.log(low) + position * (math.log(high) - math.log(low)))
        else:
            value = low + position * (high - low)
        if "integer" in self.kind:
            return min(max(round(value), low), high)
        return min(max(value, low), high)

    def nearest(self, value: Any) -> Any:
        """Return the value of the range that is nearest to a number; one of the choices as it is."""
        if self.kind == "choice":
            return value
        low, high = self.values
        return min(max(round(value) if "integer" in self.kind else value, low), high)

    def holds(self, value: Any) -> bool:
        """Tell whether a value is of the range."""
        if self.kind == "choice":
            return value in self.values
        return isinstance(value, (int, float)) and bool(self.values[0] <= value <= self.values[1])

    def position(self, value: Any) -> float:
        """Return where in [0, 1] a value lies, the inverse of `at` up to rounding: one axis of a plot for ranges of any kind."""
        if self.kind == "choice":
            return self.values.index(value) / max(len(self.values) - 1, 1)
        low, high = self.values
        if low == high:
            return 0.5
        if self.kind.startswith("log"):
            return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
        return float((value - low) / (high - low))

    def place(self, value: Any) -> float | None:
        """Return where an axis of the range shows a value: at its position, outside of it at the nearer end; None for what is no value of it."""
        if self.kind == "choice":
            return self.position(value) if value in self.values else None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        low, high = self.values
        return self.position(min(max(value, low), high))

    def grid(self, points: int) -> list[Any]:
        """Return the values that a grid tries: every choice, or so many points of a range, evenly spread, both ends included."""
        if self.kind == "choice":
            return list(self.values)
        found = [self.at(i / (points - 1) if points > 1 else 0.5) for i in range(points)]
        return list(dict.fromkeys(found))


def parse_space(tree: Any, path: str = "tune.space") -> dict[str, Range]:
    """Flatten the tree into `{dotted key: Range}`, in its order.

    Raises:
        UserError: no mapping, a range of an unknown kind, an empty one, bounds in the wrong order or not positive where a logarithm is taken.
    """
    if not isinstance(tree, dict):
        raise UserError(f"{path} must be a mapping", received=repr(tree), expected=f"the configuration's keys with a range each, {_EXPECTED}")
    found: dict[str, Range] = {}
    for key, value in tree.items():
        here = f"{path}.{key}"
        if value is None:  # taken out of what a file names: tune.space.optimizer.lr=null
            continue
        if not isinstance(value, dict):
            raise UserError(f"{here} is no range", received=repr(value), expected=_EXPECTED)
        if any(k in KINDS or isinstance(v, (list, tuple)) for k, v in value.items()):
            found[str(key)] = _range(value, here)
        else:
            found |= {f"{key}.{k}": r for k, r in parse_space(value, here).items()}
    return found


def check_tune(tune: TuneSpec) -> None:
    """Check what a search says of its space.

    Raises:
        UserError: see parse_space; or there is nothing to vary; or a list and a space at once.
    """
    space = parse_space(tune.space)
    if tune.algorithm == "list":
        if space or not tune.configurations:
            raise UserError(
                "tune.algorithm=list tries tune.configurations", received=tune.configurations or tune.space, expected="a list, and no space"
            )
        return
    if tune.configurations:
        raise UserError(f"tune.algorithm={tune.algorithm} draws from tune.space", received=tune.configurations, mend="choose tune=list")
    if not space:
        raise UserError(
            "tune.space is empty", expected=f"the configuration's keys with a range each, {_EXPECTED}", mend="name them in the experiment file"
        )
    choices = [key for key, span in space.items() if span.kind == "choice"]
    if tune.algorithm == "cma_es" and choices:
        raise UserError("tune.algorithm=cma_es needs ranges of numbers", received=f"choices for {', '.join(choices)}", mend="choose tune=tpe")


def _range(value: dict[str, Any], path: str) -> Range:
    if len(value) > 1:
        mend = f"{path}=null first takes out the one that a file under conf/tune names"
        raise UserError(f"{path} is several ranges at once", received=value, expected=f"one, {_EXPECTED}", mend=mend)
    ((kind, given),) = value.items()
    if kind not in KINDS:
        raise UserError(f"{path} has an unknown kind of range '{kind}'{nearest(str(kind), KINDS)}", expected=f"one of: {', '.join(KINDS)}")
    if not isinstance(given, (list, tuple)) or not given:
        raise UserError(f"{path} is an empty range", received=repr(given), expected=_EXPECTED)
    if kind == "choice":
        if len({repr(v) for v in given}) < len(given):
            raise UserError(f"{path} names a choice twice", received=given)
        return Range("choice", tuple(given))
    _check_bounds(kind, given, path)
    return Range(cast(Kind, kind), tuple(given) if "integer" in kind else tuple(float(v) for v in given))


def _check_bounds(kind: str, given: Any, path: str) -> None:
    types = int if "integer" in kind else (int, float)
    if len(given) != 2 or not all(isinstance(v, types) and not isinstance(v, bool) and math.isfinite(v) for v in given):
        expected = "two whole numbers" if "integer" in kind else "two numbers"
        raise UserError(f"{path} needs a low and a high bound", received=given, expected=f"{expected}, {_EXPECTED}")
    low, high = given
    if low >= high:
        raise UserError(f"{path} is an empty range", received=given, expected="the low bound below the high one")
    if kind.startswith("log") and low <= 0:
        raise UserError(f"{path} begins at or below zero, where there is no logarithm", received=given, expected="positive bounds")
