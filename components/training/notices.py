"""What a training is told from outside, and Ctrl-C and SIGTERM as such a notice. No torch: the driver of a Ray group uses it too."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Notice(IntEnum):
    """What a rank was asked to do at the end of the step."""

    NONE = 0
    SAVE = 1  # the machine will be taken away: save now, go on
    STOP = 2  # save and leave
    SPENT = 3  # save and leave: what the run may cost is spent


@dataclass
class Told:
    """What a process has heard so far."""

    notice: Notice = Notice.NONE


@contextmanager
def graceful() -> Iterator[Told]:
    """Turn the first signal into `Notice.STOP`; the second one raises KeyboardInterrupt where the program stands.

    Python delivers signals to the main thread alone; on any other thread nothing is ever told.
    """
    told = Told()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if told.notice is Notice.STOP:
            raise KeyboardInterrupt
        told.notice = Notice.STOP
        print(f"{signal.Signals(number).name}: finishing and saving this step; once more aborts at once", file=sys.stderr, flush=True)

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
