"""Versions that are known not to work together, and those that a package itself refuses. Read from metadata; nothing is imported."""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from components.training.doctor.finding import Finding, Skipped
from flows.machine.machine import Machine

_TOLD = 3


@dataclass(frozen=True)
class Pair:
    """Where `package` is as `when` says, `other` has to be as `needs` says."""

    package: str
    when: str
    other: str
    needs: str
    reason: str
    mend: str


PAIRS = (  # seen to fail; design notes, table (c), V1 to V3
    Pair(
        "prefect",
        "<3.9",
        "fastapi",
        "<0.151",
        "with newer ones Prefect 3.8's server fails to import (Body() lost min_items)",
        "pip install 'fastapi<0.151'",
    ),
    Pair("prefect", "<3.9", "sqlalchemy", "<2.1", "with 2.1 no schedule fires: its scheduler cannot insert runs", "pip install 'sqlalchemy<2.1'"),
    Pair("prefect", ">=3.9", "certifi", ">=2026.10.19", "Prefect 3.9 asks for it", "pip install 'certifi>=2026.10.19', or 'prefect<3.9'"),
    Pair("hydra-core", "<1.4", "omegaconf", "<2.4", "Hydra 1.3 does not read OmegaConf 2.4's nodes", "pip install 'omegaconf<2.4'"),
)


def python(machine: Machine) -> Finding:
    """This interpreter against the range of pyproject.toml."""
    here, wanted = platform.python_version(), _project(machine).get("requires-python", "")
    good = _within(here, wanted)
    return Finding(
        "ok" if good else "fail",
        f"Python {here}",
        f"{wanted}: outside it some of the packages have no wheels, or were never tried",
        "make the virtual environment with another Python",
    )


def pairs(machine: Machine) -> list[Finding]:
    """Each pair of packages that was seen to fail."""
    return [_pair(machine, pair) for pair in PAIRS]


def _pair(machine: Machine, pair: Pair) -> Finding:
    package, other = machine.version(pair.package), machine.version(pair.other)
    name = f"{pair.package} and {pair.other}"
    if package is None or other is None:
        return Finding("skipped", f"{pair.package if package is None else pair.other} is not installed", name=name)
    good = not _within(package, pair.when) or _within(other, pair.needs)
    return Finding(
        "ok" if good else "fail",
        f"{pair.package} {package}, {pair.other} {other}",
        f"{pair.other}{pair.needs} with {pair.package}{pair.when}: {pair.reason}",
        pair.mend,
        name=name,
    )


def requirements(machine: Machine) -> Finding:
    """What the project asks for, and what each of those packages asks for in turn."""
    asked = [Requirement(text) for text in _project(machine).get("dependencies", [])]
    unmet = [text for requirement in asked for text in _unmet(machine, requirement)]
    more = f" and {len(unmet) - _TOLD} more" if len(unmet) > _TOLD else ""
    return Finding(
        "fail" if unmet else "ok",
        "; ".join(unmet[:_TOLD]) + more if unmet else f"{len(asked)} packages, and what they ask for",
        "every requirement met: pip goes back to older versions without a word where it finds no way",
        "pip install --constraint constraints.txt --editable .",
    )


def _unmet(machine: Machine, asked: Requirement) -> Iterator[str]:
    found = machine.distribution(asked.name)
    if found is None or not _within(found.version, str(asked.specifier)):
        yield f"{asked.name}{asked.specifier} {'is missing' if found is None else f'is {found.version}'}"
        return
    for text in found.requires or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *asked.extras)):
            continue
        version = machine.version(requirement.name)
        if version is None or not _within(version, str(requirement.specifier)):
            told = "which is missing" if version is None else f"and there is {version}"
            yield f"{asked.name} wants {requirement.name}{requirement.specifier}, {told}"


def _project(machine: Machine) -> dict[str, Any]:
    try:
        project: dict[str, Any] = tomllib.loads((machine.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (FileNotFoundError, KeyError) as error:
        raise Skipped("the project has no pyproject.toml that says what it needs") from error
    return project


def _within(version: str, wanted: str) -> bool:
    return SpecifierSet(wanted).contains(version, prereleases=True)
