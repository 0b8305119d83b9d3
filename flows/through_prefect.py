"""Opened runs, carried out as Prefect flows from the command line: on the server of PREFECT_API_URL, or on a temporary one for all of them."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any

from flows.run import PipelineRun


class ThroughPrefect:
    """A block in which runs are carried out; the server is started when the first run needs it, and ended with the block."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._started = False

    def __enter__(self) -> ThroughPrefect:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, trace)

    def carry_out(self, run: PipelineRun) -> dict[str, Any]:
        """Carry out an opened run and return its result."""
        if not self._started:
            self._start()
        from flows.pipeline import define

        return define(run)(overrides=run.overrides)

    def _start(self) -> None:
        from flows.adapters.prefect import drain, server, set_environment

        set_environment()
        ready = self._stack.enter_context(server())
        import flows.pipeline  # noqa: F401 - Prefect's import takes as long as its server's start

        ready()
        self._stack.callback(drain)
        self._started = True
