"""Who floods a real daphne, by whatever kind of frame, is closed with a code, and who is honest beside it hears all."""

from collections.abc import Callable
from contextlib import suppress
from threading import Thread

import pytest

from broadcast.engine.frames import FLOODING
from tests.kit.clients import ManualClient
from tests.kit.servers import Server
from tests.kit.sockets import masked

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
    flooding = {kind: server.visit() for kind in FLOODS}
    honest, heard = server.visit(), []
    threads = [Thread(target=pour, args=(client, FLOODS[kind])) for kind, client in flooding.items()]
    threads += [Thread(target=listen, args=(kind, client, codes)) for kind, client in flooding.items()]
    for thread in threads:
        thread.start()
    while len(codes) < len(FLOODS):
        server.get("/many?count=1")
        heard.append(honest.hear()["offset"])
    for thread in threads:
        thread.join()
    assert heard == list(range(1, len(heard) + 1))
    assert codes.pop("texts") in (4501, FLOODING)  # it is answered, and refused twenty times in a row
    assert set(codes.values()) == {FLOODING}
    assert server.failures == []


def listen(kind: str, client: ManualClient, codes: dict[str, int | None]) -> None:
    """Hears a client to its end, which may be an abort after the close."""
    with suppress(OSError, EOFError):
        client.hear_to_the_end()
    codes[kind] = client.close_code
