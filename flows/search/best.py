"""What a search found, as a specification that can be trained and as a file that `modelyard run` takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from components.errors import UserError
from components.files import write_text
from components.spec.schema import Spec
from flows.compose import compose, groups
from flows.search.values import without_search
from flows.store import Manifest

_HEAD = "# @package _global_\n# Found by a search: {told}\n"


def best_of(root: Path, overrides: list[str], tuned: Manifest) -> Spec:
    """Compose the specification of the best trial. It keeps the search that found it, for the record.

    Args:
        root: the project's folder.
        overrides: of the search.
        tuned: the search's stage.
    """
    found = compose(root, [*without_search(overrides), *tuned.outputs["overrides"]])
    return replace(found, tune=compose(root, overrides).tune)


def experiment_file(root: Path, experiment: str, overrides: list[str], found: list[str], told: str) -> str:
    """Return an experiment file for conf/experiment: the experiment that was searched, what the search was asked for with, and what it found.

    Args:
        root: the project's folder.
        experiment: that was searched.
        overrides: of the search.
        found: overrides of the best trial.
        told: where the values come from.
    """
    known = groups(root / "conf")
    chosen: dict[str, str] = {}
    tree: dict[str, Any] = {}
    for override in [*overrides, *found]:
        key, _, value = override.partition("=")
        key = key.lstrip("+")
        if key in ("experiment", "tune", "cluster", "debug", "tracking") or key.startswith(("tune.", "cluster.", "tracking.", "store", "remote")):
            continue
        if key in known:
            chosen[key] = value
        else:
            _put(tree, key, yaml.safe_load(value))
    defaults = [f"/experiment/{experiment}", "_self_", *({f"override /{group}": value} for group, value in chosen.items())]
    text = yaml.safe_dump({"defaults": defaults, **tree}, sort_keys=False, width=150)
    return _HEAD.format(told=told) + text


def save_as(root: Path, name: str, text: str) -> Path:
    """Put an experiment file under conf/experiment.

    Raises:
        UserError: the name leaves the folder, or there is such an experiment already.
    """
    folder = root / "conf" / "experiment"
    path = (folder / f"{name}.yaml").resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UserError("the name leads out of conf/experiment", received=name, expected="such as tuned/lenet5")
    if path.exists():
        raise UserError("there is an experiment of that name", received=path, mend="choose another name, or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[last] = value
