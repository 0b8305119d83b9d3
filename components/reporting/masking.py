"""Secrets stay out of reports: whatever stands under a name that looks like one is masked before anything is drawn."""

from __future__ import annotations

import re
import shlex
from typing import Any

MASK = "MASKED"
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET = re.compile(r"(passw(or)?d|passphrase|secret|credential)s?$")
# Numbers under these are sizes and counts (`key_dim`, `max_tokens`), so only texts are masked.
_SECRET_TEXT = re.compile(r"(key|token)s?$")
_NESTED_NAME = re.compile(r"""([\w.-]+)["']?\s*:""")
_USER_IN_URL = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)


def mask(value: Any, name: str = "") -> Any:
    """Return a copy of plain data in which every secret is `MASK`.

    A name looks like a secret when one of its words (split at punctuation and at camelCase) ends in key, token, password, secret or the
    like; everything below such a name counts. The user part of an address (`https://user:word@host`) is masked wherever it stands.

    Args:
        value: plain data.
        name: the name under which it stands.
    """
    if isinstance(value, dict):
        return {key: mask(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask(item, name) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if _looks(name, _SECRET) or (isinstance(value, str) and _looks(name, _SECRET_TEXT)):
        return MASK
    return _USER_IN_URL.sub(rf"\g<scheme>{MASK}@", value) if isinstance(value, str) else value


def mask_command(command: str) -> str:
    """Mask the values of overrides and options (`tracking.api_key=...`, `tracking={api_key: ...}`, `--token ...`) in a command line."""
    try:
        words = shlex.split(command)
    except ValueError:  # a lone quote
        words = command.split()
    masked = []
    for before, word in zip(["", *words], words, strict=False):
        name, sign, value = word.partition("=")
        if before.startswith("-") and "=" not in before and _is_secret(before):
            masked.append(MASK)
        elif sign and any(_is_secret(candidate) for candidate in (name, *_NESTED_NAME.findall(value))):
            masked.append(f"{name}={MASK}")
        else:
            masked.append(_USER_IN_URL.sub(rf"\g<scheme>{MASK}@", word))
    return shlex.join(masked)


def _is_secret(name: str) -> bool:
    return _looks(name, _SECRET) or _looks(name, _SECRET_TEXT)


def _looks(name: str, pattern: re.Pattern[str]) -> bool:
    return any(pattern.search(word.lower()) for word in _WORDS.findall(name))
