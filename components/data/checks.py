"""The check stage: does a prepared data set hold what its card says, and is it fit to train and to judge with?

One pass over the shards gathers a `Survey` of each split (survey.py); each check is a function of the card and the surveys.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.data.card import Card, Statistics, load_card, require_contents
from components.data.dataset import ShardDataset
from components.data.prepare import is_numeric
from components.data.sheet import draw_sheet
from components.data.survey import Survey, survey_split
from components.errors import UserError
from components.files import atomic_path, write_json
from components.spec.schema import CheckSpec

SPLITS = ("train", "validation", "test")
FAULT, WARNING = "fault", "warning"
_RELATIVE_TOLERANCE = 1e-6  # of statistics: far above rounding, far below what one changed image does
_SCALE_FACTOR = 3.0  # between splits' spreads, and spreads between their levels
_SHOWN = 5  # examples in a message


@dataclass(frozen=True)
class Finding:
    """One check's verdict: what was looked at, whether it passed, how grave a failure is, and the numbers behind it."""

    name: str
    passed: bool
    severity: str
    detail: str


def check(directory: Path, limits: CheckSpec, output: Path) -> dict[str, Any]:
    """Check a prepared data set; write check.json and sheet.png.

    Args:
        directory: the prepared data set.
        limits: how much is too much.
        output: where the two files go, an existing directory.

    Returns:
        The content of check.json: `data` (the data version), `splits` {name: rows}, `classes` {column: {split: counts}} and
        `checks`, a list of {name, passed, severity, detail}.

    Raises:
        UserError: a shard is corrupted, or some check found a fault; the message lists all faults. Both files are written first.
    """
    card = load_card(directory)
    require_contents(directory, card)
    datasets = {split: ShardDataset(directory, split) for split in _ordered(card)}
    surveys = {split: survey_split(dataset) for split, dataset in datasets.items()}
    findings = [finding for find in _CHECKS for finding in find(card, surveys, limits)]
    result = {
        "data": card.content_sha256,
        "splits": {split: survey.rows for split, survey in surveys.items()},
        "classes": _class_table(card, surveys),
        "checks": [dataclasses.asdict(finding) for finding in findings],
    }
    write_json(output / "check.json", result)
    with atomic_path(output / "sheet.png") as temporary:
        draw_sheet(datasets["train"], limits.sheet_rows, limits.sheet_columns).save(temporary, format="PNG")
    faults = [f"{finding.name}: {finding.detail}" for finding in findings if not finding.passed and finding.severity == FAULT]
    if faults:
        raise UserError(
            f"data set '{card.name}' failed {len(faults)} of {len(findings)} checks:\n  - " + "\n  - ".join(faults),
            received=directory,
            mend="mend the source or the reader; where the data are meant to be so, raise the limit under `check`",
        )
    return result


def _ordered(card: Card) -> list[str]:
    """Return the splits' names, train first: it must be there, whatever the card says."""
    present = [split for split in SPLITS[1:] if split in card.splits]
    return [SPLITS[0], *present, *sorted(set(card.splits) - set(SPLITS))]


def _class_table(card: Card, surveys: Mapping[str, Survey]) -> dict[str, dict[str, list[int]]]:
    labels = [name for name, column in card.columns.items() if column.classes is not None]
    return {name: {split: survey.class_counts[name].tolist() for split, survey in surveys.items()} for name in labels}


# The checks: each yields its findings.

_Check = Callable[[Card, Mapping[str, Survey], CheckSpec], Iterator[Finding]]


def _counts(card: Card, surveys: Mapping[str, Survey], limits: CheckSpec) -> Iterator[Finding]:
    few = {split: survey.rows for split, survey in surveys.items() if survey.rows < limits.min_rows}
    absent = set(SPLITS) - set(surveys)
    detail = ", ".join(f"{split} {survey.rows:,}" for split, survey in surveys.items())
    if few or absent:
        detail += f"; each of {', '.join(SPLITS)} needs at least {limits.min_rows} rows"
    yield Finding("counts", not few and not absent, FAULT, detail)


def _label_range(card: Card, surveys: Mapping[str, Survey], limits: CheckSpec) -> Iterator[Finding]:
    for name, column in card.columns.items():
        if column.classes is None:
            continue
        last = len(column.classes) - 1
        found = {split: survey.label_ranges[name] for split, survey in surveys.items() if name in survey.label_ranges}
        wrong = {split: (low, high) for split, (low, high) in found.items() if low < 0 or high > last}
        detail = f"expected 0..{last}, found {_ranges(wrong)}" if wrong else f"labels lie in 0..{last}"
        yield Finding(f"label range ({name})", not wrong, FAULT, detail)


def _ranges(found: Mapping[str, tuple[int, int]]) -> str:
    return ", ".join(f"{low}..{high} in {split}" for split, (low, high) in found.items())


def _class_coverage(card: Card, surveys: Mapping[str, Survey], limits: CheckSpec) -> Iterator[Finding]:
    for name, column in card.columns.items():
        for split, survey in surveys.items() if column.classes is not None else ():
            assert column.classes is not None
            absent = [column.classes[i] for i in np.flatnonzero(survey.class_counts[name] == 0)]
            detail = f"all {len(column.classes)} classes occur in {split}"
            if absent:
                detail = f"{len(absent)} of {len(column.classes)} classes never occur in {split}: {_some(absent)}"
            # A sequence's classes are a vocabulary: padding is in no row, and a word of another language may be in none either.
            severity = FAULT if split == "train" and not column.ragged else WARNING
            yield Finding(f"class coverage ({name}, {split})", not absent, severity, detail)


def _balance(card: Card, surveys: Mapping[str, Survey], limits: CheckSpec) -> Iterator[Finding]:
    for name, column in card.columns.items():
        if column.classes is None or "train" not in surveys:
            continue
        counts = surveys["train"].class_counts[name]
        if not counts.any():
            continue  # class coverage tells
        most, least = int(counts.argmax()), int(np.where(counts > 0, counts, counts.max()).argmin())
        ratio = counts[most] / counts[least]
        detail = (
            f"'{column.classes[most]}' has {counts[most]:,} training rows, '{column.classes[least]}' {counts[least]:,}: "
            f"ratio {ratio:.2f}, limit {limits.max_imbalance:g}"
        )
        yield Finding(f"label balance ({name})", bool(ratio <= limits.max_imbalance), FAULT, detail)


def _finite(card: Card, surveys: Mapping[str, Survey], limits: CheckSpec) -> Iterator[Finding]:
    wrong = {split: survey.not_finite for split, survey in surveys.items() if survey.not_finite}
    detail = ", ".join(f"{count:,} values in {split} are NaN or infinite" for split, count in wrong.items()) or "every value is finite"
    yield Finding("finite", not wrong, FAULT, detail)


def _scale(card: Card, surveys: Mapping[str, Survey], limits: CheckSpec) -> Iterator[Finding]:
    """Every split must be in the training split's units: bytes here and fractions there make a model look broken."""
    for name, trained in card.statistics.items():
        if trained.minimum == trained.maximum:
            yield Finding(f"scale ({name})", False, FAULT, f"all training values are {trained.minimum:g}")
            continue
        found = {split: survey.statistics[name] for split, survey in surveys.items() if name in survey.statistics}
        wrong = [split for split, statistics in found.items() if not _same_scale(trained, statistics)]
        detail = ", ".join(f"{split} {s.minimum:g}..{s.maximum:g}" for split, s in found.items())
        yield Finding(f"scale ({name})", not wrong, FAULT, detail + (f"; {_some(wrong)} not scaled as train" if wrong else ""))


def _same_scale(trained: Statistics, found: Statistics) -> bool:
    """Compare level and spread over all channels; a range alone would take one outlier for another unit."""
    level, spread = np.mean(found.mean) - np.mean(trained.mean), np.mean(trained.std)
    ratio = np.mean(found.std) / spread
    return bool(abs(level) <= _SCALE_FACTOR * spread and 1 / _SCALE_FACTOR <= ratio <= _SCALE_FACTOR)


def _constant(card: Card, surveys: Mapping[str, Survey], limits: CheckSpec) -> Iterator[Finding]:
    for split, survey in surveys.items():
        fraction = survey.constant / max(1, survey.rows)
        grave = fraction > limits.max_constant_fraction
        detail = f"{survey.constant:,} of {survey.rows:,} images in {split} have one value in all pixels"
        yield Finding(f"constant images ({split})", survey.constant == 0, FAULT if grave else WARNING, detail)


def _normalisation(card: Card, surveys: Mapping[str, Survey], limits: CheckSpec) -> Iterator[Finding]:
    for name in filter(lambda n: is_numeric(card.columns[n]), card.columns):
        stated, found = card.statistics.get(name), surveys["train"].statistics.get(name)
        same = stated is not None and found is not None and _equal(stated, found)
        detail = f"card: {_brief(stated)}; training split: {_brief(found)}"
        yield Finding(f"normalisation ({name})", same, FAULT, detail)


def _equal(a: Statistics, b: Statistics) -> bool:
    first, second = ([*s.mean, *s.std, s.minimum, s.maximum] for s in (a, b))
    return len(first) == len(second) and bool(
        np.allclose(first, second, rtol=_RELATIVE_TOLERANCE, atol=_RELATIVE_TOLERANCE * (a.maximum - a.minimum))
    )


def _brief(statistics: Statistics | None) -> str:
    if statistics is None:
        return "no statistics"
    means, stds = (", ".join(f"{v:.6g}" for v in values[:_SHOWN]) for values in (statistics.mean, statistics.std))
    return f"mean {means}, std {stds}"


def _duplicates(card: Card, surveys: Mapping[str, Survey], limits: CheckSpec) -> Iterator[Finding]:
    for split, survey in surveys.items():
        again = len(survey.hashes) - len(set(survey.hashes))
        yield Finding(f"duplicates ({split})", again == 0, WARNING, f"{again:,} of {survey.rows:,} rows repeat another row of {split}")


def _leakage(card: Card, surveys: Mapping[str, Survey], limits: CheckSpec) -> Iterator[Finding]:
    order = list(surveys)
    for i, split in enumerate(order):
        counts = Counter(surveys[split].hashes)
        for other in order[:i]:
            shared = sum(counts[h] for h in counts.keys() & set(surveys[other].hashes))
            fraction = shared / max(1, surveys[split].rows)
            detail = f"{shared:,} of {surveys[split].rows:,} rows of {split} also stand in {other} ({fraction:.2%}"
            detail += f", limit {limits.max_leak_fraction:.2%})"
            yield Finding(f"leakage ({other} to {split})", fraction <= limits.max_leak_fraction, FAULT, detail)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


_CHECKS: tuple[_Check, ...] = (
    _counts, _label_range, _class_coverage, _balance, _finite, _scale, _constant, _normalisation, _duplicates, _leakage,
)  # fmt: skip
