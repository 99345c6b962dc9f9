"""All clients of a killed daphne arrive at the other at once, and hold up nobody.

`STORM_CLIENTS=2000` has so many of them come.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count, pairwise

import pytest

from tests.kit.clients import Client, fetch
from tests.kit.servers import Publisher
from tests.kit.waiting import wait_until
from tests.live.crowd import Crowd
from tests.site import Daphne

pytestmark = pytest.mark.alone

CLIENTS = int(os.environ.get("STORM_CLIENTS", "1000"))
MISSED = 10  # messages
PROMISED = 1.0  # seconds for a page, and without a message
ALLOWED = 0.1  # statements of ours per client: those of the hub's own pace
LAST = "the last one"


@contextmanager
def again_and_again(work: Callable[[], object], every: float) -> Iterator[list[tuple[float, float]]]:
    """Does something over and over meanwhile: when each time began, and when it ended."""
    done: list[tuple[float, float]] = []
    stop = threading.Event()

    def do() -> None:
        while not stop.wait(every):
            begun = time.monotonic()
            work()
            done.append((begun, time.monotonic()))

    with ThreadPoolExecutor(1) as pool:
        doing = pool.submit(do)
        try:
            yield done
        finally:
            stop.set()
        doing.result()


def hear_all(client: Client, moments: list[float]) -> None:
    while client.hear()["body"] != LAST:
        moments.append(time.monotonic())


def test_all_come_at_once_and_hold_up_nobody(
    start: Callable[..., Daphne], publisher: Publisher, visit: Callable[..., Client]
) -> None:
    counting = {"DJANGO_SETTINGS_MODULE": "tests.live.counting_settings"}
    killed, other = start(**counting), start(**counting)
    fetch(other, "/statements")
    witness = visit(other)
    with Crowd(killed.port, "/ws?v=1", CLIENTS) as crowd:
        crowd.listen_until(b'"welcome"')
        killed.kill()
    for number in range(MISSED):
        publisher.send(missed := f"missed {number}")
    witness.hear_until(missed)
    asked = int(fetch(other, "/statements"))
    bodies = count()
    moments: list[float] = []
    with ExitStack() as stack:
        hearing = stack.enter_context(ThreadPoolExecutor(1)).submit(hear_all, witness, moments)
        with (
            again_and_again(lambda: publisher.send(f"live {next(bodies)}"), 0.1),
            again_and_again(lambda: fetch(other, "/"), 0.05) as pages,
        ):
            wait_until(lambda: pages and moments)
            begun = time.monotonic()
            crowd = stack.enter_context(Crowd(other.port, f"/ws?v=1&after=0&epoch={witness.epoch}", CLIENTS))
            crowd.listen_until(missed.encode())
            ended = time.monotonic()
            statements = int(fetch(other, "/statements")) - asked
        publisher.send(LAST)
        crowd.listen_until(LAST.encode())
        hearing.result()
        (told,) = crowd.texts()
    welcome, *messages = map(json.loads, told)
    assert welcome["recovered"]
    assert [message["offset"] for message in messages] == list(range(1, len(messages) + 1))
    longest = max(end - beginning for beginning, end in pages if end > begun and beginning < ended)
    silent = max(after - before for before, after in pairwise(moments))
    print(f"all in after {ended - begun:.2f} s; a page took up to {longest:.2f} s, silence {silent:.2f} s")
    assert statements < ALLOWED * CLIENTS
    assert longest < PROMISED
    assert silent < PROMISED
