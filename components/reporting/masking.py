"""Secrets stay out of reports: whatever stands under a name that looks like one is masked before anything is drawn."""

from __future__ import annotations

import re
from typing import Any

MASK = "••••••"
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET = re.compile(r"(passw(or)?d|passphrase|secret|credential)s?$")
# Numbers under these are sizes and counts (`key_dim`, `max_tokens`), so only texts are masked.
_SECRET_TEXT = re.compile(r"(key|token)s?$")
_ASSIGNMENT = re.compile(r"""(?P<name>[\w./+~-]+)(?P<sign>[=:]\s*|\s+)(?P<value>'[^']*'|"[^"]*"|[^\s'",}\]]+)""")
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
    """Mask the values of overrides and options (`tracking.api_key=...`, `--token ...`) in a command line."""

    def replaced(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"]
        # after a blank only an option takes a value: `make key demo` names no secret
        is_value = not match["sign"].isspace() or name.startswith("-")
        hidden = MASK if is_value and (_looks(name, _SECRET) or _looks(name, _SECRET_TEXT)) else value
        return f"{name}{match['sign']}{hidden}"

    return _USER_IN_URL.sub(rf"\g<scheme>{MASK}@", _ASSIGNMENT.sub(replaced, command))


def _looks(name: str, pattern: re.Pattern[str]) -> bool:
    return any(pattern.search(word.lower()) for word in _WORDS.findall(name))
