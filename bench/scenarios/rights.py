"""Readers who lose the right to read while they are connected, without a signal to tell of it."""

from __future__ import annotations

import time
from random import Random
from statistics import median

from bench import process
from bench.crowd import Late, Wrong
from bench.readers import Kind, Readers
from bench.scenarios.base import Note
from bench.servers import Server

SEED = 15
TURNS = 10
EACH = 10  # readers whose sessions are deleted in a turn, and as many who are deactivated
MOST_APART = 2.0  # seconds between two turns
PATIENCE = 30.0


def rights(server: Server, note: Note, kind: Kind, size: int) -> None:
    """Has another process delete sessions and deactivate users, by chance, and notes how long each was still let read.

    The time runs from before the statement. Nobody else may be sent away.
    """
    chance = Random(SEED)
    each = min(EACH, size // (4 * TURNS))
    chosen = chance.sample(range(1, size + 1), 2 * each * TURNS)
    told: dict[int, float] = {}
    with server.another() as other, Readers(server.port) as crowd:
        crowd.come(kind.readers(range(1, size + 1)))
        used, begun = process.processor_seconds(server.pid), time.monotonic()
        while chosen:
            crowd.listen(time.monotonic() + chance.uniform(0, MOST_APART))
            gone, chosen = chosen[: 2 * each], chosen[2 * each :]
            told |= dict.fromkeys(gone, time.monotonic())
            other.control.tell("send_away", signed_out=gone[:each], deactivated=gone[each:])
        crowd.listen(time.monotonic() + PATIENCE, lambda: len(crowd.ended) >= len(told))
        crowd.listen(time.monotonic() + MOST_APART)
        used = process.processor_seconds(server.pid) - used
        note("rights_cpu", used / (time.monotonic() - begun) * 100)
        for _ in range(TURNS):
            other.control.answer()
        if others := crowd.ended.keys() - told.keys():
            raise Wrong(f"{len(others)} readers were sent away who had lost nothing")
        if missing := told.keys() - crowd.ended.keys():
            raise Late(f"{len(missing)} of {len(told)} readers who had lost their rights were not sent away")
        seconds = [crowd.ended[number] - moment for number, moment in told.items()]
        note("rights", max(seconds))
        note("rights_median", median(seconds))
