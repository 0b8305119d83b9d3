"""A hash of the code that a stage uses: the modules it reaches by import, found by reading source, nothing is imported.

The hash is over syntax trees without docstrings, so a comment, a docstring or a reformatting does not make a model train again. Parsing was half of
what an unchanged `modelyard run` costs; so what was found in a text is remembered (flows/memory.py), by the text's hash.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from components.spec.targets import module_source
from flows.memory import Memory

_OWN = ("components", "flows")
_KEPT = 2000  # texts that are remembered

Found = tuple[str, list[str]]  # a text's hash without docstrings, and the modules of ours that it imports


def fingerprint(modules: Iterable[str]) -> dict[str, str]:
    """Return `{module: hash}` for the given modules and every module of this project that they reach by import."""
    found: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        source = module_source(module) if module.partition(".")[0] in _OWN else None
        if module in found or source is None:
            continue
        found[module], imports = _read(source)
        waiting.extend(imports)
        waiting.append(module.rpartition(".")[0])  # importing a module runs its packages' __init__ too
    _memory().keep()
    return dict(sorted(found.items()))


@functools.cache
def _read(source: Path) -> Found:
    text = source.read_bytes()
    key = hashlib.sha256(text).hexdigest()
    known = _memory().get(key)
    if known is None:
        known = _parse(text)
        _memory().put(key, known)
    code, imports = known
    return code, imports


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
def _memory() -> Memory:
    return Memory(__file__, _KEPT)


def _imported(node: ast.AST) -> list[str]:
    """The project's modules that an import statement names; `from components.data import card` may name a module or an attribute."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    else:
        return []
    return [n for n in names if n.partition(".")[0] in _OWN]
