"""A hash of the code that a stage uses: the modules it reaches by import, found by reading source, nothing is imported.

The hash is over syntax trees without docstrings, so a comment, a docstring or a reformatting does not make a model train again.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

from components.spec.targets import module_source

_OWN = ("components", "flows")


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
    return dict(sorted(found.items()))


@functools.cache
def _read(source: Path) -> tuple[str, frozenset[str]]:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    imports = frozenset(m for node in ast.walk(tree) for m in _imported(node))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16], imports


def _imported(node: ast.AST) -> list[str]:
    """The project's modules that an import statement names; `from components.data import card` may name a module or an attribute."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    else:
        return []
    return [n for n in names if n.partition(".")[0] in _OWN]
