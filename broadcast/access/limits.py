"""What visitors may do at most, by ``BROADCAST["LIMITS"]``: each user, or each address for guests, whatever the way."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..conf import conf, limits
from ..engine.commands import unread
from ..engine.limits import Rate
from ..engine.process import Process, current_process
from ..engine.throttle import TokenBucket
from ..exceptions import Refused

USER = "user "
AFTER_TOO_MANY = 30.0  # seconds after which a client comes back that was one too many


def subject(user: Any, address: str | None) -> str | None:
    """By which name the limits know a visitor; None for a guest whose address is nobody's own."""
    if user is not None:
        return f"{USER}{user.pk}"
    return f"address {address}" if address else None


def take_message(whom: str | None) -> None:
    """Counts a message of a visitor. Raises Refused, with the seconds to wait, if there were too many."""
    rate = limits.MESSAGE_RATE
    text = f"You may send {rate:g} messages a second. Wait a moment."
    take("message", whom, Rate(rate, limits.MESSAGE_BURST), text, "MESSAGE_RATE")


def take_announcement(whom: str | None) -> None:
    """Counts an announcement of a visitor. Raises Refused, with the seconds to wait, if there were too many."""
    most = limits.ANNOUNCEMENTS_PER_MINUTE
    text = f"You may announce {most:g} times a minute. Wait a moment."
    take("announcement", whom, Rate(most / 60, max(1, round(most))), text, "ANNOUNCEMENTS_PER_MINUTE")


def take(what: str, whom: str | None, rate: Rate, text: str, key: str) -> None:
    wait = current_process().limits.take(what, whom, rate) if whom is not None else 0.0
    if wait:
        raise too_fast(text, wait, key)


def too_fast(text: str, wait: float, key: str) -> Refused:
    detail = f'BROADCAST["LIMITS"]["{key}"] is {getattr(limits, key):g}.'
    return Refused(text, "rate_limited", retry_after=wait, detail=detail)


def flooded() -> Refused:
    """The reason for which a client has to go that pours on."""
    return too_fast("You send far more than you may.", 0.0, "MESSAGE_RATE")


class ConnectionLimits:
    """What one connection may do at most, by itself and among those of its user or address."""

    __slots__ = ("_frames", "_groups", "_is_counted", "_process", "whom")

    def __init__(self, process: Process, whom: str | None) -> None:
        self.whom = whom
        self._process = process
        self._is_counted = False
        self._frames: TokenBucket | None = None  # most connections never send
        self._groups: TokenBucket | None = None

    def enter(self) -> None:
        """Counts the connection. Raises Refused if too many of the same user or address are open already."""
        if self.whom is None:
            return
        key = "CONNECTIONS_PER_USER" if self.whom.startswith(USER) else "CONNECTIONS_PER_ADDRESS"
        self._is_counted = self._process.connections.enter(self.whom, getattr(limits, key))
        if not self._is_counted:
            raise too_fast("You have too many connections open.", AFTER_TOO_MANY, key)

    def leave(self) -> None:
        if self._is_counted and self.whom is not None:
            self._is_counted = False
            self._process.connections.leave(self.whom)

    def take_frame(self, text: str | None) -> None:
        """Counts a frame, whatever it asks for. Raises Refused, with the seconds to wait, if there were too many."""
        if self._frames is None:
            monotonic = self._process.system.monotonic
            self._frames = TokenBucket(limits.MESSAGE_RATE, limits.MESSAGE_BURST, monotonic)
        if wait := self._frames.take():
            reason = f"You may send {limits.MESSAGE_RATE:g} frames a second. Wait a moment."
            raise unread(text, too_fast(reason, wait, "MESSAGE_RATE"))

    def take_group(self, group: str, followed: Collection[str]) -> None:
        """Counts a group that is newly asked for. Raises Refused if there were too many, or are too many by now."""
        if group in followed:
            return
        if len(followed) >= conf.MAX_GROUPS:
            detail = f'BROADCAST["MAX_GROUPS"] is {conf.MAX_GROUPS}.'
            raise Refused(f"A connection may follow {conf.MAX_GROUPS} groups at a time.", "forbidden", detail=detail)
        if self._groups is None:
            burst = max(limits.SUBSCRIBE_BURST, conf.MAX_GROUPS)  # who comes back asks for all of them at once
            self._groups = TokenBucket(limits.SUBSCRIBE_RATE, burst, self._process.system.monotonic)
        if wait := self._groups.take():
            raise too_fast("You ask for new groups too often. Wait a moment.", wait, "SUBSCRIBE_RATE")
