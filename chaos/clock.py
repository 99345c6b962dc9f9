"""A wall clock that signals set back by an hour (SIGUSR1) and set right again (SIGUSR2), in this process alone."""

import signal
import time
from datetime import datetime, timedelta, tzinfo
from typing import Any
from unittest.mock import patch

BACK = 3600.0  # seconds


class SetBack(datetime):
    """The class datetime, whose clock is slow by that; the moments that it gives are like any other."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) - timedelta(seconds=BACK)


class Clock:
    """Patches the functions that tell the time of day. What counts seconds for the loop never goes back."""

    def __init__(self) -> None:
        right = time.time
        self._patches: list[Any] = [
            patch("time.time", lambda: right() - BACK),
            patch("django.utils.timezone.datetime", SetBack),
        ]
        self._is_set_back = False

    def obey_signals(self) -> None:
        signal.signal(signal.SIGUSR1, self._set_back)
        signal.signal(signal.SIGUSR2, self._set_right)

    def _set_back(self, *_: Any) -> None:
        if not self._is_set_back:
            self._is_set_back = True
            for each in self._patches:
                each.start()

    def _set_right(self, *_: Any) -> None:
        if self._is_set_back:
            self._is_set_back = False
            for each in self._patches:
                each.stop()
