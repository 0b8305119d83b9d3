"""A place elsewhere by URL, through fsspec: an object store or a shared folder. Bytes by name; flows/exchange.py says what they mean.

Credentials come from the environment, as each protocol's package reads them, and stand neither in a URL nor in a message.
"""

from __future__ import annotations

import importlib.util
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from operator import methodcaller
from pathlib import Path
from typing import Any, TypeVar

from components.errors import UserError, nearest
from components.files import atomic_path

T = TypeVar("T")

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://([^?#]*[^?#/])/*")
_LOGIN = re.compile(r"//[^/@]*:[^/@]*@")  # user:password@, not Azure's container@account
_SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|CREDENTIAL|KEY|SAS")
_EXAMPLE = "protocol://place/prefix, such as s3://bucket/prefix or file:///mnt/share/modelyard"
_ANSWER_SECONDS = 30.0  # for the first answer; s3fs gives up a port that refuses after 6 s
_LOCAL = ("file", "local")
_AT_ONCE = 4  # files on their way together; s3fs holds up to 100 MiB of each in memory


class Unreachable(Exception):
    """The remote does not answer, or refuses; the message says which, in one line."""


class Remote:
    """Objects under a URL. Every method raises Unreachable when the remote does not do what it was asked.

    Args:
        url: `protocol://place/prefix`.

    Raises:
        UserError: the URL is malformed, holds a password, or its protocol is not known or not installed.
    """

    def __init__(self, url: str) -> None:
        self._protocol = _protocol(url)
        _require_package(self._protocol, url)
        self.url = url.rstrip("/")
        self._system: Any = None  # of fsspec, once it has answered

    def read(self, name: str) -> bytes | None:
        """Return an object's content, None where there is none."""

        def content(system: Any) -> bytes | None:
            try:
                return bytes(system.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

        return self._ask(content)

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the objects under a folder, as they are now: name below it -> bytes."""

        def listing(system: Any) -> dict[str, int]:
            system.invalidate_cache()  # others write here
            start = system._strip_protocol(self._path(folder)) + "/"
            found = system.find(self._path(folder), detail=True)
            return {path.removeprefix(start): int(told["size"]) for path, told in found.items()}

        return self._ask(listing)

    def write(self, objects: Mapping[str, bytes]) -> None:
        """Write small objects, each whole or not at all."""

        def pipe(system: Any) -> None:
            if self._protocol not in _LOCAL:
                system.pipe({self._path(name): content for name, content in objects.items()})
                return
            for name, content in objects.items():
                with atomic_path(Path(system._strip_protocol(self._path(name)))) as path:
                    path.write_bytes(content)

        self._ask(pipe)

    def send(self, files: Mapping[str, Path]) -> None:
        """Upload files: object's name -> file. Killed, it may leave an object cut short where the protocol has no whole writes (file)."""
        for some in _portions(files.items()):
            self._ask(methodcaller("put", [str(path) for _, path in some], [self._path(name) for name, _ in some]))

    def receive(self, files: Mapping[Path, str]) -> None:
        """Download objects: file, whose folder is made -> object's name. One object may be several files."""
        for path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
        for some in _portions(files.items()):
            self._ask(methodcaller("get", [self._path(name) for _, name in some], [str(path) for path, _ in some]))

    def _path(self, name: str) -> str:
        return f"{self.url}/{name}"

    def _ask(self, question: Callable[[Any], T]) -> T:
        """Put a question to the file system. The first one has a time limit, whatever the package's own patience with a dead host."""
        try:
            if self._system is None:
                self._system, answer = _in_time(lambda: _first(self._connect(), question))
                return answer
            return question(self._system)
        except Exception as error:  # each package has its own
            raise Unreachable(f"{self.url} cannot be reached: {_told(error)}") from error

    def _connect(self) -> Any:
        import fsspec

        local = self._protocol in _LOCAL
        system = fsspec.filesystem(self._protocol, skip_instance_cache=True, **({"auto_mkdir": True} if local else {}))
        if local and not system.isdir(self.url):
            raise FileNotFoundError("the folder is not there: is it mounted? If it is new, make it once")
        return system


def _portions(pairs: Iterable[T]) -> Iterator[list[T]]:
    whole = list(pairs)
    for i in range(0, len(whole), _AT_ONCE):
        yield whole[i : i + _AT_ONCE]


def _first(system: Any, question: Callable[[Any], T]) -> tuple[Any, T]:
    return system, question(system)


def _in_time(call: Callable[[], T]) -> T:
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)  # nobody waits for it at the end either
    thread.start()
    thread.join(_ANSWER_SECONDS)
    if not future.done():
        raise TimeoutError(f"no answer within {_ANSWER_SECONDS:.0f} s")
    return future.result()


def _protocol(url: str) -> str:
    """Return a URL's protocol; a URL that may hold a password is refused without being repeated."""
    if _LOGIN.search(url) or "?" in url:
        raise UserError(
            "the remote's URL holds more than a place",
            received=re.sub(r"//[^/@]*@|\?.*", "***", url),
            expected=_EXAMPLE,
            mend="give credentials in the environment (docs/remote.md); the URL is written into every run's record",
        )
    match = _URL.fullmatch(url)
    if match is None or (match[1] in _LOCAL and not match[2].startswith("/")):
        raise UserError("the remote is no URL", received=f"remote={url}", expected=_EXAMPLE)
    return match[1]


def _require_package(protocol: str, url: str) -> None:
    from fsspec.registry import get_filesystem_class, known_implementations

    known = known_implementations.get(protocol)
    if known is None:
        raise UserError(
            f"the remote's protocol '{protocol}' is not known{nearest(protocol, known_implementations)}",
            received=f"remote={url}",
            expected="a protocol of fsspec: s3, gs, abfs, file ...",
        )
    package = known["class"].partition(".")[0]
    try:
        if package == "fsspec":  # its own, cheap to import, may need another package
            get_filesystem_class(protocol)
        missing = importlib.util.find_spec(package) is None
    except ImportError:
        missing = True
    if missing:
        told = known.get("err", f"Install {package}")
        raise UserError(f"the remote's protocol '{protocol}' needs a package that is not installed", received=f"remote={url}", mend=told)


def _told(error: Exception) -> str:
    """An error in one line, without what only the environment may know."""
    text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET.search(name.upper()):
            text = text.replace(value, "***")
    return text
