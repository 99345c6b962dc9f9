"""Notices of a fleet without a channel layer, some of which are lost, doubled or late, and sockets that are removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

from broadcast.engine.hints.notices import NoticeReader
from broadcast.engine.hints.sockets import places
from chaos.tally import Tally

FAULTS = ("hint dropped", "hint doubled", "hint delivered late")
REMOVALS = 0.02  # of the faults


class Unreliable:
    """What spoils a `share` of the notices that a process gets, as `UnreliableLayer` does with events."""

    def __init__(self, share: float, seed: str, tally: str) -> None:
        self._share = share
        self._random = Random(f"{seed}:notices")
        self._tally = Tally(tally)
        self._late: list[bytes] = []

    def install(self) -> None:
        """Has every node of this process read what is left."""
        read = NoticeReader.read

        def unreliable_read(reader: NoticeReader, notices: Iterable[bytes]) -> None:
            read(reader, list(self._what_arrives(notices)))

        NoticeReader.read = unreliable_read  # type: ignore[assignment, method-assign]

    def _what_arrives(self, notices: Iterable[bytes]) -> Iterator[bytes]:
        for notice in notices:
            late, self._late = self._late, []
            if self._random.random() >= self._share:
                yield notice
            else:
                yield from self._spoilt(notice)
            yield from late

    def _spoilt(self, notice: bytes) -> list[bytes]:
        fault = self._random.choice(FAULTS)
        self._tally.add(fault)
        if self._random.random() < REMOVALS:
            self._remove_sockets()
        if fault == "hint delivered late":
            self._late.append(notice)
        return [notice, notice] if fault == "hint doubled" else []

    def _remove_sockets(self) -> None:
        self._tally.add("sockets removed")
        for place in places():
            for path in Path(place.path).glob("*"):
                with suppress(OSError):
                    path.unlink()
