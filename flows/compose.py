"""The only reader of Hydra: command-line overrides -> one frozen Spec.

A composition takes Hydra a tenth of a second, and its import twice that; what it composed is remembered (flows/memory.py), by the content of conf/.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

from components.errors import UserError, nearest
from components.spec.parse import parse_spec
from components.spec.schema import Spec
from flows.memory import Memory

_ENVIRONMENT = re.compile(r"\$\{\s*(oc\.env|hydra|now|python_version)\s*:")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*)=")  # of one key, without Hydra's signs + ~ @ and /
_KEPT = 200  # compositions that are remembered: every experiment's, and the last commands'
_LOCK = threading.Lock()  # Hydra keeps one global state a process


def compose(root: Path, overrides: list[str] | tuple[str, ...] = ()) -> Spec:
    """Compose conf/ with overrides in Hydra's syntax and validate the result.

    Args:
        root: the project's folder; its conf/ is read.
        overrides: such as `experiment=cnn/lenet5`, `trainer.duration=5ep`.

    Raises:
        UserError: a malformed override, an unknown group, value or key, a wrong type, an unresolved interpolation.
    """
    conf = root / "conf"
    key = _key(conf, list(overrides))
    known = _memory().get(key)
    if known is not None:
        return parse_spec(json.loads(known))
    plain, choices = _compose_plain(conf, list(overrides))
    plain["experiment"] = choices.get("experiment")
    text = json.dumps(plain)
    if key and key == _key(conf, list(overrides)) and json.loads(text) == plain:  # nobody changed a file meanwhile, and JSON can hold it
        _memory().put(key, text)
        _memory().keep()
    return parse_spec(plain)


@functools.cache
def _memory() -> Memory:
    return Memory(__file__, _KEPT, versions=metadata.version("hydra-core"))


def _key(conf: Path, overrides: list[str]) -> str:
    """Return a hash of all that a composition is made of; "" where a file of conf/ asks for more, such as the environment."""
    found = hashlib.sha256(json.dumps(overrides).encode())
    for path in sorted(conf.rglob("*.yaml")):
        text = path.read_bytes()
        if _ENVIRONMENT.search(text.decode(errors="replace")):
            return ""
        found.update(f"{path.relative_to(conf)} {len(text)} ".encode() + text)
    return found.hexdigest()


def sources(root: Path, overrides: list[str] | tuple[str, ...] = ()) -> list[str]:
    """Return the files that `compose` reads for the same overrides, as paths from the project's folder, sorted."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    conf = root / "conf"
    with _LOCK:
        GlobalHydra.instance().clear()
        with initialize_config_dir(config_dir=str(conf), version_base="1.3"):
            forced = [_forced(conf, override) for override in overrides]
            read = GlobalHydra.instance().config_loader().compute_defaults_list("config", forced, RunMode.RUN).defaults
    files = {conf / f"{part.config_path}.yaml" for part in read}
    return sorted(file.relative_to(root).as_posix() for file in files if file.is_file())  # the others are Hydra's own


def _compose_plain(conf: Path, overrides: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    _refuse_environment_in(overrides)
    with _LOCK:
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(config_dir=str(conf), version_base="1.3"):
                forced = [_forced(conf, override) for override in overrides]
                config = hydra_compose(config_name="config", overrides=forced, return_hydra_config=True)
                choices = dict(config.hydra.runtime.choices)
                OmegaConf.set_struct(config, False)
                config.pop("hydra")
                plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: Hydra's, of a group=5
            raise _explain(conf, overrides, error) from error
    assert isinstance(plain, dict)
    return plain, choices  # type: ignore[return-value]


def _refuse_environment_in(overrides: list[str]) -> None:
    for override in overrides:
        if _ENVIRONMENT.search(override):
            raise UserError(
                "an override reads the environment",
                received=override,
                expected="plain values: the specification is hashed and must mean the same everywhere",
                mend="let your shell expand the variable",
            )


def _forced(conf: Path, override: str) -> str:
    """Make `key=value` Hydra's `++key=value`, unless the key is a group.

    Hydra knows only the keys that a file happens to mention; parse_spec knows the schema and the signatures: let it judge.
    """
    match = _ASSIGNMENT.match(override)
    return f"++{override}" if match and match[1] not in groups(conf) else override


def _explain(conf: Path, overrides: list[str], error: Exception) -> UserError:
    """Turn Hydra's error into one sentence with the nearest valid name."""
    text = str(error).strip()
    if match := re.search(r"Could not find '([\w./-]+)/([\w.-]+)'", text) or re.search(r"Could not find '([\w.-]+)/([\w./-]+)'", text):
        whole = f"{match.group(1)}/{match.group(2)}"
        group, _, choice = whole.partition("/")
        known = group_choices(conf, group)
        return UserError(
            f"unknown value '{choice}' for {group}{nearest(choice, known)}",
            received=f"{group}={choice}",
            expected=f"one of: {', '.join(known)}",
        )
    if match := re.search(r"Could not override '([\w.@/-]+)'", text):
        known = groups(conf)
        return UserError(f"unknown group '{match[1]}'{nearest(match[1], known)}", expected=f"one of: {', '.join(known)}")
    return UserError(f"the configuration does not compose: {text.splitlines()[0]}", received=" ".join(overrides) or None)


def groups(conf: Path) -> list[str]:
    """Return the names of the configuration groups (the folders of conf/)."""
    return sorted(p.name for p in conf.iterdir() if p.is_dir())


def group_choices(conf: Path, group: str) -> list[str]:
    """Return the values that a group can take, as written on the command line."""
    folder = conf / group
    return sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml"))
