"""The hostile clients, in a process of their own: `python -m abuse.horde PORT SEED`.

A line on its input is a wave: a JSON list of attacks, which go on until the next line comes; for each wave it
prints a JSON object of what became of them. It ends with its input. What is sent was made before it is sent, and what
comes is only looked through, so that the server is the limit.
"""

from __future__ import annotations

import heapq
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from itertools import count
from random import Random

from abuse.attacks import ATTACKS
from abuse.attacks.attack import Attack
from abuse.attempt import Attempt, Tally
from abuse.frames import ADDRESS, handshake
from bench.crowd import allow_files

IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the port is chosen by connect()
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
SEND_BUFFER = 16 * 1024  # bytes: what the kernel takes counts as sent
RECEIVE_BUFFER = 4 * 1024  # of those who do not read
DRAWN = 16  # bursts made for each attack
NAP = 0.2  # seconds
STARTS = 40  # connections begun in a turn
PER_HOST = 100  # connections from one loopback address, which has ports for so many and more
POLITENESS = 10  # to the honest clients, for they are measured and there are only so many cores


class Wave:
    """The attacks of a wave, what they say, and what became of them."""

    def __init__(self, names: list[str], random: Random) -> None:
        self.attacks = [ATTACKS[name] for name in names]
        self.random = random
        self.bursts = {attack.name: [attack.says(random) for _ in range(DRAWN)] for attack in self.attacks}
        self.tallies = {attack.name: Tally() for attack in self.attacks}
        self.due = [(time.monotonic(), next(TIE), attack) for attack in self.attacks for _ in range(attack.connections)]
        heapq.heapify(self.due)

    def come_back(self, attack: Attack) -> None:
        heapq.heappush(self.due, (time.monotonic() + attack.rest, next(TIE), attack))


TIE: Iterator[int] = count()


class Horde:
    """An event loop for all connections of a wave."""

    def __init__(self, port: int, seed: str) -> None:
        self.port = port
        self.seed = seed
        self.attempts: dict[int, Attempt] = {}
        self.timers: list[tuple[float, int, Attempt]] = []
        self.numbers = count()
        self.poll = select.epoll()
        self.poll.register(0, select.EPOLLIN)
        self.buffer = bytearray()

    def run(self) -> None:
        number = 0
        line = self._next_line()
        while line:
            number += 1
            wave = Wave(json.loads(line), Random(f"{self.seed}:{number}"))
            line = self._play(wave)
            print(json.dumps({name: tally.told() for name, tally in wave.tallies.items()}), flush=True)

    def _next_line(self) -> bytes:
        while b"\n" not in self.buffer:
            data = os.read(0, 1 << 16)
            if not data:
                return b""
            self.buffer += data
        line, _, rest = self.buffer.partition(b"\n")
        self.buffer = rest
        return bytes(line)

    def _play(self, wave: Wave) -> bytes:
        """Goes on until the next line, which is returned."""
        while True:
            now = time.monotonic()
            self._begin(wave, now)
            self._wake(wave, now)
            for fd, events in self.poll.poll(self._rest(wave, now)):
                if fd == 0:
                    line = self._next_line()
                    self._leave(wave)
                    return line
                if (attempt := self.attempts.get(fd)) is not None:
                    self._follow(wave, attempt, events)

    def _rest(self, wave: Wave, now: float) -> float:
        moments = [heap[0][0] for heap in (wave.due, self.timers) if heap]
        return max(0.0, min([NAP, *(moment - now for moment in moments)]))

    def _begin(self, wave: Wave, now: float) -> None:
        for _ in range(STARTS):
            if not wave.due or wave.due[0][0] > now:
                return
            _, _, attack = heapq.heappop(wave.due)
            number = next(self.numbers)
            attempt = self._connect(wave, attack, number)
            self.attempts[attempt.fd] = attempt
            self.poll.register(attempt.fd, attempt.interest)

    def _connect(self, wave: Wave, attack: Attack, number: int) -> Attempt:
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        if not attack.reads:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        connection.bind((f"127.0.1.{1 + number // PER_HOST % 250}", 0))
        connection.connect_ex(("127.0.0.1", self.port))
        address = f"198.18.{wave.attacks.index(attack)}.{number % attack.addresses}".encode()
        burst = wave.random.choice(wave.bursts[attack.name])
        opening = handshake(attack.opening).replace(ADDRESS, address) if attack.opening else b""
        data = burst.data.replace(ADDRESS, address)
        return Attempt(connection, attack, wave.tallies[attack.name], opening, data, burst.size)

    def _follow(self, wave: Wave, attempt: Attempt, events: int) -> None:
        before = attempt.interest
        if events & select.EPOLLIN:
            attempt.read()
        if events & select.EPOLLOUT and not attempt.is_over:
            attempt.write()
        if events & (select.EPOLLHUP | select.EPOLLERR) and not attempt.is_over:
            attempt.end("reset")
        self._after(wave, attempt, before)

    def _wake(self, wave: Wave, now: float) -> None:
        while self.timers and self.timers[0][0] <= now:
            _, _, attempt = heapq.heappop(self.timers)
            if not attempt.is_over:
                before = attempt.interest
                attempt.wake()
                self._after(wave, attempt, before)

    def _after(self, wave: Wave, attempt: Attempt, before: int) -> None:
        if attempt.is_over:
            self._forget(attempt)
            wave.come_back(attempt.attack)
            return
        if attempt.interest != before:
            self.poll.modify(attempt.fd, attempt.interest)
        if attempt.wake_after is not None:
            heapq.heappush(self.timers, (time.monotonic() + attempt.wake_after, next(self.numbers), attempt))
            attempt.wake_after = None

    def _forget(self, attempt: Attempt) -> None:
        del self.attempts[attempt.fd]
        self.poll.unregister(attempt.fd)
        attempt.socket.close()

    def _leave(self, wave: Wave) -> None:
        for attempt in list(self.attempts.values()):
            attempt.end("open")
            self._forget(attempt)
        self.timers.clear()


def main() -> None:
    allow_files()
    os.nice(POLITENESS)
    Horde(int(sys.argv[1]), sys.argv[2]).run()


if __name__ == "__main__":
    main()
