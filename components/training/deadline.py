"""A training that may go on only until a time of the clock: at the step that reaches it the ranks agree, save, and leave."""

from __future__ import annotations

import time

import torch

from components.data.streams import Stream
from components.training.notices import Notice
from components.training.session import Session


class Limited:
    """A session whose time runs out.

    By the clock, not by seconds from now: a worker group that is restarted is given the same job again, and starting it has cost as well.

    Args:
        session: the worker's own.
        until: seconds since 1970.
    """

    def __init__(self, session: Session, until: float) -> None:
        self._session, self._until = session, until

    @property
    def rank(self) -> int:
        return self._session.rank

    @property
    def world(self) -> int:
        return self._session.world

    @property
    def device(self) -> torch.device:
        return self._session.device

    @property
    def stream(self) -> Stream | None:
        return self._session.stream

    def notice(self) -> Notice:
        """What the session has heard; when nobody asks to stop, and the time is over, that."""
        heard = self._session.notice()
        return heard if heard is Notice.STOP or time.time() < self._until else Notice.SPENT
