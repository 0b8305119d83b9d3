"""What ran: data version, command, configuration, code, environment, machine."""

from __future__ import annotations

from typing import Any

from components.reporting.run import Run
from components.reporting.sections.base import Section
from components.reporting.text import flatten, number


def provenance(run: Run) -> Section:
    """Return the facts that one needs to make this run again, and the configuration as a table of dotted keys."""
    facts = [(name, value) for name, value in (*_data_facts(run.card), *_run_facts(run.record)) if value]
    homepage = str(run.card.get("homepage") or "")
    return Section(
        "provenance",
        "What ran",
        {
            "facts": facts,
            "command": run.record.get("command"),
            "homepage": homepage if homepage.startswith(("https://", "http://")) else None,
            "configuration": flatten(run.spec),
            "environment": [*flatten(run.record.get("environment") or {}), *_prefixed("machine", run.record.get("machine"))],
        },
    )


def _data_facts(card: dict[str, Any]) -> list[tuple[str, str]]:
    splits = card.get("splits") or {}
    return [
        ("Data", str(card.get("title") or card.get("name") or "")),
        ("Data version", str(card.get("content_sha256") or "")[:16]),
        ("Licence", str(card.get("licence") or "")),
        ("Samples", ", ".join(f"{name} {number(split['rows'])}" for name, split in splits.items())),
    ]


def _run_facts(record: dict[str, Any]) -> list[tuple[str, str]]:
    git = record.get("git") or {}
    commit = str(git.get("commit") or "")[:12]
    return [
        ("Experiment", str(record.get("experiment") or "")),
        ("Started", str(record.get("started") or "").replace("T", " ")),
        ("Code", f"{commit} with uncommitted changes" if commit and git.get("dirty") else commit),
    ]


def _prefixed(name: str, value: Any) -> list[tuple[str, str]]:
    return flatten(value, name) if value else []
