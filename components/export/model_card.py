"""MODEL_CARD.md: what somebody who did not train a model has to know of it (Mitchell et al. 2019, "Model cards for model reporting").

Every sentence is derived from what was measured and recorded; nothing is asked of the one who trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.data.card import Card
from components.export.load import EXAMPLE, PROGRAM, WEIGHTS
from components.spec.parse import expectation_met, to_plain
from components.spec.schema import Expectation, Spec

LOW_RECALL = 0.1  # below the mean of the classes
SMALL_SUPPORT = 30  # rows: one of them is more than three points of recall
_MOST_ROWS = 64  # of a table that is shown
_FLAT = (int, float, str, bool, type(None))


@dataclass(frozen=True)
class Facts:
    """What a card is written from.

    Args:
        spec: of the run.
        card: of the data set.
        described: model.json, but for its hashes.
        metrics: `{split: {name: value}}`.
        check: check.json.
        origin: plain facts of the run.
        kind: of task, a sentence.
    """

    spec: Spec
    card: Card
    described: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Any]]
    check: Mapping[str, Any]
    origin: Mapping[str, Any]
    kind: str

    @property
    def judged(self) -> str:
        """The split that the model is judged by."""
        return "test" if "test" in self.metrics else next(reversed(list(self.metrics)), "")


def model_card(facts: Facts) -> str:
    """Return the card as Markdown."""
    sections = {
        "Model details": _details(facts),
        "Intended use": _use(facts),
        "Data": _data(facts),
        "Metrics": _metrics(facts),
        "Limits": _bullets(limits(facts)),
        "Training": _training(facts),
        "How to load it": _loading(facts),
    }
    title = f"# {facts.spec.experiment}\n\n{facts.spec.description}."
    return "\n\n".join([title, *(f"## {name}\n\n{text}" for name, text in sections.items())]) + "\n"


def limits(facts: Facts) -> list[str]:
    """Return what is known to be weak: classes, expectations, warnings of the data's check, what the export could not do."""
    found = [*_weak_classes(facts), *_missed(facts)]
    checks = facts.check.get("checks", [])
    found += [f"The data's check warned: {c['name']}: {c['detail']}." for c in checks if not c["passed"]]
    program = facts.described["program"]
    if program["file"] is None:
        found.append(f"There is no program, the weights need this package: {program['reason']}")
    elif program["reason"]:
        found.append(f"The program takes {_rows(program['batch'])}: {program['reason']}")
    if facts.spec.state != "proven":
        found.append(f"The experiment's expectations are not proven (state: {facts.spec.state}).")
    if not facts.metrics:
        found.append("It was not evaluated.")
    return found or ["None was found by what was measured. What was not measured is not known."]


def _weak_classes(facts: Facts) -> list[str]:
    rows = [row for row in _classes(facts) if isinstance(row.get("recall"), (int, float)) and isinstance(row.get("support"), int)]
    if not rows:
        return []
    mean = sum(row["recall"] for row in rows) / len(rows)
    low = [f"{row['class']} ({row['recall']:.3f})" for row in rows if row["recall"] < mean - LOW_RECALL]
    few = [f"{row['class']} ({row['support']})" for row in rows if row["support"] < SMALL_SUPPORT]
    told = []
    if low:
        told.append(f"Recall more than {LOW_RECALL:g} below the mean of {mean:.3f} on {facts.judged}: {', '.join(low)}.")
    if few:
        told.append(f"Fewer than {SMALL_SUPPORT} rows on {facts.judged}, so that their figures are coarse: {', '.join(few)}.")
    return told


def _missed(facts: Facts) -> list[str]:
    metrics = {split: dict(values) for split, values in facts.metrics.items()}
    return [f"Expected and not reached: {_expected(e)}." for e in facts.spec.expect if expectation_met(e, metrics) is False]


def _expected(wish: Expectation) -> str:
    return f"{wish.metric} at least {wish.minimum:g}" if wish.minimum is not None else f"{wish.metric} at most {wish.maximum:g}"


def _classes(facts: Facts) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = facts.metrics.get(facts.judged, {}).get("per_class", [])
    return found


def _details(facts: Facts) -> str:
    described = facts.described
    about = {
        "Kind": facts.kind,
        "Model": f"`{facts.spec.model.name}`, {described['parameters']:,} learned numbers",
        "Source": facts.spec.source or "not given",
        "Checkpoint": f"weights of sha256 {described['checkpoint_sha256']}",
        **{name.replace("_", " ").capitalize(): _plain(value) for name, value in facts.origin.items()},
    }
    return _bullets([f"{name}: {value}" for name, value in about.items()])


def _use(facts: Facts) -> str:
    inputs = ", ".join(f"`{one['name']}` {one['dtype']} {tuple(one['shape'])}".replace("'", "") for one in facts.described["inputs"])
    outputs = ", ".join(f"`{one['name']}`" for one in facts.described["outputs"])
    return (
        f"It reads rows like those of {facts.card.title}, in their raw units ({inputs}), and answers {outputs}. Rows of other origin, other units or "
        "another preparation were not tried; nor was it judged for decisions about people."
    )


def _data(facts: Facts) -> str:
    card = facts.card
    about = [
        f"{card.title} (`{card.name}`), {card.homepage}",
        f"Licence of the data: {card.licence}. Who passes the model on has to look whether it binds the weights too.",
        f"Version: {card.content_sha256}",
        "Rows: " + ", ".join(f"{name} {split.rows:,}" for name, split in card.splits.items()),
        f"A few of its rows lie in `{EXAMPLE}`" + (f" and in `{PROGRAM}`." if facts.described["program"]["file"] else "."),
    ]
    return _bullets(about)


def _metrics(facts: Facts) -> str:
    if not facts.metrics:
        return "None were given."
    names = {name: None for values in facts.metrics.values() for name, value in values.items() if isinstance(value, (int, float))}
    overall = [{"metric": name, **{split: values.get(name) for split, values in facts.metrics.items()}} for name in names]
    parts = [_table(overall)]
    judged = facts.metrics[facts.judged]
    for name, rows in _tables(judged):
        parts.append(f"### {name.replace('_', ' ').capitalize()}, on {facts.judged}\n\n{_table(rows)}")
    return "\n\n".join(parts)


def _tables(values: Mapping[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The metrics that are tables: lists of flat rows, also one level deeper (`slices`); an empty bin of the calibration says nothing."""
    found: list[tuple[str, list[dict[str, Any]]]] = []
    for name, value in values.items():
        for label, rows in value.items() if isinstance(value, dict) else [("", value)]:
            if isinstance(rows, list) and 0 < len(rows) <= _MOST_ROWS and all(isinstance(row, dict) for row in rows):
                flat = [{k: v for k, v in row.items() if isinstance(v, _FLAT)} for row in rows if row.get("count") != 0]
                if flat and all(row.keys() == flat[0].keys() for row in flat) and flat[0]:
                    found.append((f"{name} {label}".strip(), flat))
    return found


def _training(facts: Facts) -> str:
    spec = facts.spec
    augment = [target.name.rpartition(".")[2] for target in spec.augment.train]
    about = {
        "Fitted by": spec.procedure.name if spec.procedure else f"{spec.optimizer.name} {_plain(to_plain(spec.optimizer.options))}",
        "Schedule": f"{spec.schedule.name.rpartition('.')[2]} {_plain(to_plain(spec.schedule.options))}".strip(),
        "Loss": spec.loss.name.rpartition(".")[2],
        "Length": f"{spec.trainer.duration}, batches of {spec.trainer.batch_size}, {spec.trainer.precision}",
        "Augmentation": ", ".join(augment) or "none",
        "Chosen by": f"{spec.trainer.monitor.metric} ({spec.trainer.monitor.mode})",
        "Seed": spec.seed,
    }
    return _bullets([f"{name}: {value}" for name, value in about.items()])


def _loading(facts: Facts) -> str:
    program = facts.described["program"]
    if program["file"] is None:
        return (
            f"With this package:\n\n```python\nfrom pathlib import Path\nfrom components.export.load import load, load_eager\n"
            f"model, task = load(Path('.'))  # {WEIGHTS} in the model that model.json names\n"
            "answers = load_eager(Path('.'))  # raw columns to answers\n```"
        )
    compared = "to the bit" if program["equal"] else f"within {max(program['difference'].values()):.2g}"
    code = f"""import numpy, torch
program = torch.export.load("{PROGRAM}").module()
example = numpy.load("{EXAMPLE}")
inputs = {{name[6:]: torch.from_numpy(example[name]) for name in example if name.startswith("input.")}}
outputs = program(inputs)  # {", ".join(one["name"] for one in facts.described["outputs"])}"""
    return (
        f"With torch and numpy alone:\n\n```python\n{code}\n```\n\nThe program takes {_rows(program['batch'])}. Its answers were compared with "
        f"the model's on {program['rows']} rows: equal {compared}. It was written by torch {facts.described['torch']}."
    )


def _rows(limits: Mapping[str, int | None]) -> str:
    least, most = limits["minimum"], limits["maximum"]
    if most is not None:
        return f"{most} rows at a time"
    return "any number of rows" if least == 1 else f"{least} rows or more at a time"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(_plain(inner) for inner in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([_cell(row.get(name)) for name in names] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
