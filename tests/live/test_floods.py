"""Who floods a real daphne, by whatever kind of frame, is closed with a code, and who is honest beside it hears all."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from threading import Event, Thread

import pytest

from broadcast.engine.frames import FLOODING
from tests.kit.clients import ManualClient
from tests.kit.servers import Server
from tests.kit.sockets import masked
from tests.kit.waiting import wait_until

BEGIN, PIECE, END = masked(b'{"type":"ping"').replace(b"\x81", b"\x01", 1), b"\x00\x80" + bytes(4), masked(b"}", 0)
FLOODS = {
    "pings": masked(b"", 9) * 1000,
    "pongs": masked(b"", 10) * 1000,
    "pieces": BEGIN + PIECE * 1000 + END,
    "texts": masked(b'{"type":"ping"}') * 100,
}


def pour(client: ManualClient, flood: bytes) -> None:
    with suppress(OSError):
        while True:
            client.socket.sendall(flood)


@pytest.mark.parametrize("way", ["tcp", "tls"])
def test_floods_end_with_a_code_and_nobody_else_notices(serve: Callable[..., Server], way: str) -> None:
    server = serve(way, LIMITS={"MESSAGE_RATE": 20, "MESSAGE_BURST": 60})
    codes: dict[str, int | None] = {}
    with ExitStack() as clients:
        flooding = {kind: server.visit() for kind in FLOODS}
        honest = server.visit()
        threads = [Thread(target=pour, args=(flooding[kind], FLOODS[kind])) for kind in FLOODS]
        done = Event()
        for kind, client in flooding.items():
            threads.append(Thread(target=listen, args=(kind, client, codes)))
        for thread in threads:
            thread.start()
        clients.callback(done.set)
        said = 0
        while len(codes) < len(FLOODS):
            said += 1
            honest.say(body=f"honest {said}")
            while honest.hear().get("body") != f"honest {said}":
                pass
            done.wait(0.06)
        for thread in threads:
            thread.join()
    assert codes.pop("texts") in (4501, FLOODING)  # it is answered, and refused twenty times in a row
    assert set(codes.values()) == {FLOODING}
    wait_until(lambda: server.sockets)
    assert server.failures == []


def listen(kind: str, client: ManualClient, codes: dict[str, int | None]) -> None:
    """Hears a client to its end, which may be an abort after the close."""
    with suppress(OSError, EOFError):
        client.hear_to_the_end()
    codes[kind] = client.close_code
