"""One connection of an attack, and the tally of all of them."""

from __future__ import annotations

import re
import select
import socket
from collections import Counter
from typing import Any

from abuse.attacks.attack import FOR_GOOD, Attack

FORBIDDEN = (  # what no stranger is told
    *(b"Traceback", b"Internal Server Error", b"site-packages", b"broadcast_message", b"broadcast_group", b"sqlite"),
    *(b"psycopg", b"OperationalError", b"Exception", b"BROADCAST[", b"settings.", b'.py"', b"auth_user", b"DATABASE"),
)
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
LENGTH = re.compile(rb"Content-Length: (\d+)", re.IGNORECASE)
HEAD_END = b"\r\n\r\n"
CODES = range(1000, 5000)
KEPT = 160  # bytes of what came before: a close frame is shorter, and so is a forbidden word
READ_BYTES = 1 << 17
MOST_FOUND = 5


class Tally:
    """What became of an attack."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()
        self.connections = self.sent = self.open = self.most_open = self.received = self.largest = 0
        self.found: list[str] = []

    def told(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "open"}

    def find(self, data: bytes) -> None:
        """Looks for what must not be said, and for how large answers are."""
        for word in FORBIDDEN:
            if word in data and len(self.found) < MOST_FOUND:
                at = data.index(word)
                self.found.append(data[max(0, at - 100) : at + 100].decode(errors="replace"))


class Attempt:
    """A connection: it opens, says its bursts, and ends; what it hears is counted and looked through.

    ``interest`` is what its owner shall wait for, ``wake_after`` in how many seconds it wants to be woken.
    """

    def __init__(
        self, connection: socket.socket, attack: Attack, tally: Tally, opening: bytes, data: bytes, count: int
    ) -> None:
        self.socket = connection
        self.fd = connection.fileno()
        self.attack = attack
        self.interest = select.EPOLLOUT | (select.EPOLLIN if attack.reads or opening else 0)
        self.wake_after: float | None = None
        self.is_over = False
        self._tally = tally
        self._opening = opening
        self._data = memoryview(data)
        self._count = count
        self._at = 0
        self._said = 0
        self._is_answered = not opening
        self._tail = b""
        tally.connections += 1
        tally.open += 1
        tally.most_open = max(tally.most_open, tally.open)

    @property
    def _is_websocket(self) -> bool:
        return bool(self.attack.opening)

    def end(self, how: str) -> None:
        self.is_over = True
        self._tally.open -= 1
        self._tally.ends[how] += 1
        if self._at:
            self._tally.sent += self._count * self._at // len(self._data)

    def write(self) -> None:
        try:
            if self._opening:
                self._open()
            elif self.attack.times is not None and self._said >= self.attack.times:
                self._fall_silent()
            elif not self._data:
                self.interest = select.EPOLLIN
            else:
                self._pour()
        except BlockingIOError:
            pass
        except OSError:
            self.end(self._last_word() or "reset")

    def _open(self) -> None:
        self.socket.send(self._opening)
        self._opening = b""
        if self.attack.waits:
            self.interest = select.EPOLLIN

    def _pour(self) -> None:
        self._at += self.socket.send(self._data[self._at :])
        if self._at < len(self._data):
            return
        self._at = 0
        self._said += 1
        self._tally.sent += self._count
        if self.attack.pause:
            self.interest = select.EPOLLIN
            self.wake_after = self.attack.pause

    def _fall_silent(self) -> None:
        if not self.attack.stays:
            self.end("left")
            return
        self.interest = select.EPOLLIN if self.attack.reads else 0
        if self.attack.stays < FOR_GOOD:
            self.wake_after = self.attack.stays

    def wake(self) -> None:
        if self.attack.times is not None and self._said >= self.attack.times:
            self.end("left")
        else:
            self.interest = select.EPOLLIN | select.EPOLLOUT

    def read(self) -> None:
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.end(self._last_word() or "reset")
            return
        if not data:
            self.end(self._last_word() or "dropped")
            return
        self._hear(data)

    def _hear(self, data: bytes) -> None:
        self._tally.received += len(data)
        data = self._tail + data
        self._tally.find(data)
        if not self._is_answered:
            self._hear_answer(data)
        elif not self._is_websocket:
            self._count_answers(data)
        self._tail = data[-KEPT:]
        if self._is_websocket and not self.is_over and (code := self._last_word()):
            self.end(code)

    def _hear_answer(self, data: bytes) -> None:
        head, ended, _ = data.partition(HEAD_END)
        if not ended:
            return
        self._is_answered = True
        if b" 101 " not in head[:20]:
            self._count_answers(data)
            self.end("refused")
            return
        self.interest = select.EPOLLOUT | (select.EPOLLIN if self.attack.reads else 0)

    def _count_answers(self, data: bytes) -> None:
        """Counts statuses; what the last look had is not counted again."""
        for match in STATUS.finditer(data):
            if match.end() > len(self._tail):
                self._tally.ends[match[1].decode()] += 1
        for match in LENGTH.finditer(data):
            self._tally.largest = max(self._tally.largest, int(match[1]))

    def _last_word(self) -> str:
        """The code of a close frame that came last."""
        tail = self._tail
        at = tail.rfind(b"\x88")
        while at >= 0:
            code = int.from_bytes(tail[at + 2 : at + 4])
            if tail[at + 1 : at + 2] == bytes([len(tail) - at - 2]) and code in CODES:
                return str(code)
            at = tail.rfind(b"\x88", 0, at)
        return ""
