"""`_target_` names: which are allowed, what options they take (read from source, nothing is imported), and building them.

A configuration can name code; an allow-list keeps it from naming *any* code (Hydra's instantiate would call whatever it is given).
Signatures are read with `ast`, so that a typo in an option is found in milliseconds, before torch is imported.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import UserError, nearest
from components.spec.duration import Duration, parse_duration
from components.spec.schema import Target

ALLOWED_PREFIXES = ("components.", "torch.optim.")


@dataclass(frozen=True)
class Signature:
    """Parameters of a class's constructor or of a function, without `self`."""

    names: tuple[str, ...]
    required: frozenset[str]
    annotations: dict[str, str]
    open: bool  # takes **kwargs


def check_target(target: Target, path: str, context: tuple[str, ...] = ()) -> None:
    """Check that a target is allowed, exists, and takes exactly the options it is given.

    Args:
        target: what to build.
        path: dotted path in the configuration, for messages.
        context: parameters that the caller of `build` will add.

    Raises:
        UserError: not allowed, not found, unknown or missing option, option of a plainly wrong type.
    """
    if not _allowed(target.name):
        raise UserError(
            f"{path}._target_ is not allowed",
            received=target.name,
            expected=f"a public dotted name that starts with {' or '.join(ALLOWED_PREFIXES)}",
            mend="put your own class in a module under components/",
        )
    signature = _signature(target.name, path)
    free = [n for n in signature.names if n not in context]
    for key, value in target.options.items():
        if key not in free and not signature.open:
            raise UserError(
                f"unknown key '{path}.{key}' for {target.name}{nearest(f'{path}.{key}', [f'{path}.{n}' for n in free])}",
                expected=f"one of: {', '.join(free) or '(none)'}",
            )
        _check_type(signature.annotations.get(key), value, f"{path}.{key}")
        check_finite(value, f"{path}.{key}")
    lengths(target, path)
    missing = sorted(signature.required - set(target.options) - set(context))
    if missing:
        raise UserError(f"missing key '{path}.{missing[0]}'", expected=f"{target.name} needs: {', '.join(missing)}")
    for where, inner in nested(target.options, path):
        check_target(inner, where)


def nested(value: Any, path: str = "") -> Iterator[tuple[str, Target]]:
    """Yield what a target's options ask to be built in turn, each with its path: an ensemble names its member so."""
    if isinstance(value, dict):
        if isinstance(name := value.get("_target_"), str):
            yield path, Target(name, {k: v for k, v in value.items() if k != "_target_"})
            return  # what is in it is its own to check
        for key, item in value.items():
            yield from nested(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from nested(item, f"{path}[{i}]")


def names(target: Target) -> Iterator[str]:
    """Yield the dotted names of a target and of all that its options ask to be built."""
    yield target.name
    for _, inner in nested(target.options):
        yield from names(inner)


def _allowed(name: str) -> bool:
    return name.startswith(ALLOWED_PREFIXES) and all(part.isidentifier() and not part.startswith("__") for part in name.split("."))


def lengths(target: Target, path: str) -> dict[str, Duration]:
    """Return the options of a target that are lengths of training: those that its signature annotates `Steps`.

    Raises:
        UserError: one of them is no length with a unit.
    """
    annotations = _signature(target.name, path).annotations
    return {k: parse_duration(v, f"{path}.{k}") for k, v in target.options.items() if annotations.get(k) == "Steps"}


def check_finite(value: Any, path: str) -> None:
    """Refuse a NaN or an infinity anywhere in a plain value: it has no JSON form, so it cannot be hashed.

    Raises:
        UserError: there is one; its path is told.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{path} is not finite", received=value, expected="a finite number")
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            check_finite(item, f"{path}[{i}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            check_finite(item, f"{path}.{key}")


def build(target: Target, **context: Any) -> Any:
    """Import and call a target with its options, plus those context values that its signature names.

    Raises:
        UserError: the constructor refused the options (TypeError or ValueError inside it).
    """
    check_target(target, target.name, tuple(context))
    function = resolve(target.name)
    names = inspect.signature(function).parameters
    accepted = {k: v for k, v in context.items() if k in names}
    try:
        return function(**target.options, **accepted)
    except (TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{target.name} refused its options: {error}", received=target.options) from error


def resolve(name: str) -> Any:
    """Import the object that a checked dotted name stands for."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


@functools.cache
def module_source(module: str) -> Path | None:
    """Return the source file of a dotted module without importing it (nor its parents), or None."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        return Path(spec.origin) if spec is not None and spec.origin and not rest else None
    base = Path(spec.submodule_search_locations[0], *rest)
    for candidate in (base.with_suffix(".py"), base / "__init__.py") if rest else (base / "__init__.py",):
        if candidate.is_file():
            return candidate
    return None


def _signature(name: str, path: str) -> Signature:
    module, _, attribute = name.rpartition(".")
    source = module_source(module)
    if source is None:
        raise UserError(f"{path}._target_ names a module that does not exist", received=name, expected=_siblings(module))
    found = _find(source, attribute)
    if found is None:
        known = [n.name for n in ast.parse(source.read_text()).body if isinstance(n, (ast.ClassDef, ast.FunctionDef)) and not n.name.startswith("_")]
        raise UserError(
            f"{path}._target_ names nothing in {module}{nearest(attribute, known)}", received=name, expected=f"one of: {', '.join(known)}"
        )
    return found


def _siblings(module: str) -> str:
    parent = module_source(module.rpartition(".")[0])
    names = sorted(p.stem for p in parent.parent.glob("*.py") if p.stem != "__init__") if parent else []
    return f"a module under {module.rpartition('.')[0]}: {', '.join(names) or '(none)'}"


@functools.cache
def _find(source: Path, attribute: str) -> Signature | None:
    """Find a class or function in a file, following `from a import b as attribute` (torch.optim re-exports)."""
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name == attribute:
            return _from_arguments(node.args, skip_self=False)
        if isinstance(node, ast.ClassDef) and node.name == attribute:
            return _from_class(node, source)
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                if (alias.asname or alias.name) == attribute:
                    # What a module of ours imports from elsewhere (`from subprocess import run`) is no target.
                    origin = module_source(node.module) if _allowed(f"{node.module}.{alias.name}") else None
                    return _find(origin, alias.name) if origin else None
    return None


def _from_class(node: ast.ClassDef, source: Path) -> Signature:
    """A constructor's parameters: its own `__init__`, a dataclass's fields, or the first base class's that can be found."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _from_arguments(item.args, skip_self=True)
    inherited = (_find(source, base.id) for base in node.bases if isinstance(base, ast.Name))
    above = next((signature for signature in inherited if signature is not None), Signature((), frozenset(), {}, open=False))
    if not any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return above
    fields = [i for i in node.body if isinstance(i, ast.AnnAssign) and isinstance(i.target, ast.Name) and "ClassVar" not in ast.unparse(i.annotation)]
    names = tuple(f.target.id for f in fields)  # type: ignore[union-attr]
    required = frozenset(f.target.id for f in fields if f.value is None)  # type: ignore[union-attr]
    annotations = {f.target.id: ast.unparse(f.annotation) for f in fields}  # type: ignore[union-attr]
    return Signature((*above.names, *names), above.required | required, {**above.annotations, **annotations}, open=False)


def _from_arguments(arguments: ast.arguments, *, skip_self: bool) -> Signature:
    positional = [*arguments.posonlyargs, *arguments.args][int(skip_self) :]
    required = [a.arg for a in positional[: len(positional) - len(arguments.defaults)]]
    required += [a.arg for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None]
    everything = [*positional, *arguments.kwonlyargs]
    annotations = {a.arg: ast.unparse(a.annotation) for a in everything if a.annotation}
    return Signature(tuple(a.arg for a in everything), frozenset(required), annotations, open=arguments.kwarg is not None)


_SIMPLE: dict[str, Any] = {"int": int, "float": (int, float), "str": str, "bool": bool}


def _check_type(annotation: str | None, value: Any, path: str) -> None:
    """Refuse a value that plainly contradicts a simple annotation (`int`, `float | None`); richer ones are the constructor's business."""
    if isinstance(value, str) and annotation and "Tensor" in annotation and "str" not in annotation:  # torch.optim: lr: float | Tensor
        raise UserError(f"{path} has the wrong type", received=repr(value), expected="a number")
    parts = [p.strip() for p in (annotation or "").split("|")]
    if not parts[0] or any(p not in _SIMPLE and p != "None" for p in parts):
        return
    if value is None and "None" in parts:
        return
    fits = any(isinstance(value, _SIMPLE[p]) and (p == "bool" or not isinstance(value, bool)) for p in parts if p != "None")
    if not fits:
        raise UserError(f"{path} has the wrong type", received=f"{value!r} ({type(value).__name__})", expected=annotation)
