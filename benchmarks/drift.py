"""How often drift is found where there is none, and whether it is found where there is some, on real data.

    MODELYARD_DATA_MIRROR=/folder/of/archives python -m benchmarks.drift

alarms: the training rows are drawn and cut in two, 20 times; nothing has drifted. shifts: one half is changed; 5 times each.
`rows` of each half are at most 2,000, what `DriftSpec` takes.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import publish
from components.data.card import Card
from components.data.columns import Array, Columns, Ragged, SourceData
from components.data.dataset import ShardDataset
from components.data.fetch import fetch
from components.data.params import read_yaml
from components.data.prepare import prepare, write_data_set
from components.drift.drift import drift
from components.drift.spec import DriftSpec
from components.spec.parse import parse_data
from components.spec.schema import DataSpec

SETS = ("digits", "mnist", "fashion_mnist", "diabetes", "multi30k", "bccd")
SEEDS, SHIFT_SEEDS = 20, 5
_ROOT = Path(__file__).parents[1]
OPTIONS = DriftSpec()


@dataclass(frozen=True)
class Prepared:
    """A data set and where it lies."""

    definition: DataSpec
    directory: Path

    @property
    def dataset(self) -> ShardDataset:
        """Its training split."""
        return ShardDataset(self.directory, "train")

    def halves(self, seed: int) -> tuple[dict[str, Array | Ragged], dict[str, Array | Ragged]]:
        """Rows drawn without replacement, as two halves."""
        dataset = self.dataset
        rows = np.random.default_rng(seed).permutation(dataset.rows)[: 2 * min(OPTIONS.rows, dataset.rows // 2)]
        first, second = np.array_split(rows, 2)
        return dataset.columns(first), dataset.columns(second)

    def write(self, columns: Columns, directory: Path) -> Path:
        """Write rows as a data version of their own."""
        card: Card = self.dataset.card
        write_data_set(self.definition, SourceData(card.columns, {"train": columns}), {}, directory)
        return directory


def prepared(name: str, folder: Path) -> Prepared:
    """Fetch and prepare a data set of conf/data."""
    definition = parse_data(read_yaml(_ROOT / "conf" / "data" / f"{name}.yaml"))
    mirror = os.environ.get("MODELYARD_DATA_MIRROR")
    fetch(definition.fetch, folder / f"{name}-raw", Path(mirror) if mirror else None)
    prepare(definition, folder / f"{name}-raw", folder / name)
    return Prepared(definition, folder / name)


# Shifts: (columns, generator) -> columns.
Shift = Callable[[dict[str, Array | Ragged], np.random.Generator], dict[str, Array | Ragged]]


def images(change: Callable[[Array, np.random.Generator], Array]) -> Shift:
    """A change of pixels."""

    def shift(columns: dict[str, Array | Ragged], generator: np.random.Generator) -> dict[str, Array | Ragged]:
        pixels = columns["inputs"]
        assert not isinstance(pixels, Ragged)
        top = 16 if pixels.max() <= 16 else 255
        changed = change(pixels.astype(np.float64) / top, generator).clip(0, 1) * top
        return {**columns, "inputs": changed.round().astype(pixels.dtype)}

    return shift


def fewer(column: str, chosen: Callable[[Array], Array], keep: float) -> Shift:
    """Of the rows that are chosen by a column, only a part stays."""

    def shift(columns: dict[str, Array | Ragged], generator: np.random.Generator) -> dict[str, Array | Ragged]:
        values = columns[column]
        assert not isinstance(values, Ragged)
        stays = ~chosen(values) | (generator.random(len(values)) < keep)
        found: dict[str, Array | Ragged] = {}
        for name, one in columns.items():
            assert not isinstance(one, Ragged)
            found[name] = one[stays]
        return found

    return shift


SHIFTS: dict[str, dict[str, Shift]] = {
    "mnist": {
        "brightness + 2 %": images(lambda x, g: x + 0.02),
        "brightness + 10 %": images(lambda x, g: x + 0.1),
        "contrast - 20 %": images(lambda x, g: 0.8 * x),
        "noise 5 %": images(lambda x, g: x + 0.05 * g.standard_normal(x.shape)),
        "moved by 3 pixels": images(lambda x, g: np.roll(x, 3, axis=3)),
        "mirrored": images(lambda x, g: x[..., ::-1]),
        "a tenth of the zeros left": fewer("targets", lambda y: y == 0, 0.1),
        "a tenth of 5 to 9 left": fewer("targets", lambda y: y > 4, 0.1),
    },
    "digits": {"brightness + 10 %": images(lambda x, g: x + 0.1), "a tenth of 5 to 9 left": fewer("targets", lambda y: y > 4, 0.1)},
    "diabetes": {
        "a tenth of the upper half by body mass left": fewer("inputs", lambda x: x[:, 2] > np.median(x[:, 2]), 0.1),
        "a half of it left": fewer("inputs", lambda x: x[:, 2] > np.median(x[:, 2]), 0.5),
    },
}


def compare(data: Prepared, first: Columns, second: Columns) -> dict[str, Any]:
    """Write both and compare."""
    with tempfile.TemporaryDirectory() as folder:
        return drift(data.write(first, Path(folder) / "first"), data.write(second, Path(folder) / "second"), OPTIONS)


def alarms(sets: dict[str, Prepared]) -> Iterator[dict[str, Any]]:
    """Yield a row a data set: where nothing has drifted."""
    for name, data in sets.items():
        started = time.monotonic()
        results = [compare(data, *data.halves(seed)) for seed in range(SEEDS)]
        seconds = (time.monotonic() - started) / SEEDS
        unlikely = [any((f["adjusted_p_value"] or 0.0) <= OPTIONS.level / 2 for f in r["features"]) for r in results]
        yield {
            "data": name,
            "rows": results[0]["rows"]["reference"],
            "comparisons": len(results[0]["features"]),
            "false alarms": f"{sum(r['drifted'] for r in results)} of {SEEDS}",
            "by p-values alone": f"{sum(unlikely)} of {SEEDS}",
            "by values alone": f"{sum(any(f['value'] >= f['threshold'] for f in r['features']) for r in results)} of {SEEDS}",
            "seconds": seconds,
        }


def shifts(sets: dict[str, Prepared]) -> Iterator[dict[str, Any]]:
    """Yield a row a change."""
    for name, changes in SHIFTS.items():
        for what, change in changes.items():
            pairs = [sets[name].halves(seed) for seed in range(SHIFT_SEEDS)]
            yield _shifted(name, what, [compare(sets[name], a, change(b, np.random.default_rng(seed))) for seed, (a, b) in enumerate(pairs)])
    pairs = [(sets["mnist"].halves(seed)[0], sets["fashion_mnist"].halves(seed)[0]) for seed in range(SHIFT_SEEDS)]
    yield _shifted("mnist", "Fashion-MNIST instead", [compare(sets["mnist"], a, b) for a, b in pairs])


def _shifted(name: str, what: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    first = sorted((f for f in results[0]["features"] if f["drifted"]), key=lambda f: -f["value"] / f["threshold"])
    return {
        "data": name,
        "change": what,
        "found": f"{sum(r['drifted'] for r in results)} of {SHIFT_SEEDS}",
        "median score": float(np.median([r["score"] for r in results])),
        "drifted": sum(f["drifted"] for f in results[0]["features"]),
        "first": f"{first[0]['name']} ({first[0]['measure']} {first[0]['value']:.2f})" if first else "",
    }


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        sets = {name: prepared(name, Path(folder)) for name in SETS}
        publish("drift_alarms", list(alarms(sets)), {"level": OPTIONS.level, "seeds": SEEDS})
        publish("drift_shifts", list(shifts(sets)), {"seeds": SHIFT_SEEDS})


if __name__ == "__main__":
    main()
