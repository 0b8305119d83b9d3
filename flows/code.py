"""A hash of the code that a stage uses: the modules it reaches by import, found by reading source, nothing is imported.

The hash is over syntax trees without docstrings, so a comment, a docstring or a reformatting does not make a model train again. Parsing was half of
what an unchanged `modelyard run` costs; so what was found in a text is kept beside the byte code, by the text's hash, as Python keeps byte code.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from components.files import read_json, sha256_file, write_json
from components.spec.targets import module_source

_OWN = ("components", "flows")
_KEPT = 2000  # texts that are remembered, the newest

Found = tuple[str, list[str]]  # a text's hash without docstrings, and the modules of ours that it imports


def fingerprint(modules: Iterable[str]) -> dict[str, str]:
    """Return `{module: hash}` for the given modules and every module of this project that they reach by import."""
    found: dict[str, str] = {}
    waiting, known = list(modules), len(_known())
    while waiting:
        module = waiting.pop()
        source = module_source(module) if module.partition(".")[0] in _OWN else None
        if module in found or source is None:
            continue
        found[module], imports = _read(source)
        waiting.extend(imports)
        waiting.append(module.rpartition(".")[0])  # importing a module runs its packages' __init__ too
    if len(_known()) > known:
        _remember()
    return dict(sorted(found.items()))


@functools.cache
def _read(source: Path) -> Found:
    text, known = source.read_bytes(), _known()
    key = hashlib.sha256(text).hexdigest()
    if key not in known:
        known[key] = _parse(text)
    return known[key]


def _parse(text: bytes) -> Found:
    tree = ast.parse(text)
    imports: set[str] = set()
    for node in _statements(tree):
        imports.update(_imported(node))
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16], sorted(imports)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and all statements below it. Expressions, nine tenths of a tree, hold neither imports nor docstrings."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case)):
            yield from _statements(child)


@functools.cache
def _known() -> dict[str, Found]:
    """What earlier processes found, by the sha256 of a text; nothing when this file was changed since."""
    try:
        plain = read_json(_memory())
        return {key: (code, imports) for key, (code, imports) in plain["texts"].items()} if plain["by"] == sha256_file(Path(__file__)) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _remember() -> None:
    """Keep what is known for the next process, where that may be written."""
    if not sys.dont_write_bytecode:
        with suppress(OSError):
            write_json(_memory(), {"by": sha256_file(Path(__file__)), "texts": dict(list(_known().items())[-_KEPT:])})


def _memory() -> Path:
    return Path(importlib.util.cache_from_source(__file__)).with_suffix(".found.json")


def _imported(node: ast.AST) -> list[str]:
    """The project's modules that an import statement names; `from components.data import card` may name a module or an attribute."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    else:
        return []
    return [n for n in names if n.partition(".")[0] in _OWN]
