"""What is uvicorn's own, on a real one: compression, its ways to close, and all that is left to ASGI."""

import signal
import threading
from collections import Counter
from collections.abc import Callable
from itertools import islice

import pytest

from tests.kit.uvicorns import LOOPS, Uvicorn
from tests.kit.waiting import wait_until

SMALL = 16 * 1024  # bytes of a receive buffer that is soon full

on_both_loops = pytest.mark.parametrize("loop", LOOPS)


@pytest.fixture
def uvicorn(serving, database) -> Callable[..., Uvicorn]:
    """`uvicorn("uvloop", "wsproto")` starts one; ``application`` may be another than `tests.live.host`."""

    def start(loop="asyncio", ws="auto", way="tcp", application=Uvicorn.application):
        server = Uvicorn(database, loop, ws, way)
        server.application = application
        return serving(server)

    return start


@pytest.mark.parametrize(
    ("loop", "ws", "way", "application"),
    [
        ("asyncio", "wsproto", "tcp", Uvicorn.application),
        ("asyncio", "websockets", "tcp", Uvicorn.application),
        ("asyncio", "auto", "tls", Uvicorn.application),
        ("uvloop", "auto", "unix", Uvicorn.application),
        ("asyncio", "auto", "unix", Uvicorn.application),
        ("asyncio", "auto", "tcp", "tests.live.uvicorn_hosts:wrapped"),
    ],
)
def test_all_that_is_not_as_it_is_known_is_left_to_the_server(uvicorn, loop, ws, way, application):
    server = uvicorn(loop, ws, way, application)
    clients = [server.visit(), server.visit_deflated()]
    server.get("/many?count=200&bytes=2000")
    for client in clients:
        assert [fields["offset"] for fields in islice(client.frames(), 200)] == list(range(1, 201))
    assert "Connections are written to by the server (ASGI send)" in server.log
    assert server.failures == []


@on_both_loops
def test_where_compression_was_agreed_upon_frames_of_both_kinds_go_by(uvicorn, loop):
    """Direct ones are not compressed, and the server's own are."""
    server = uvicorn(loop)
    client = server.visit_deflated()
    asking = threading.Thread(target=server.get, args=("/many?count=2000&bytes=500",))
    asking.start()
    for _ in range(15):
        client.say(type="ping")
        client.write(b"not json")
        client.write(b"alive", opcode=9)
    frames = list(islice(client.frames(), 2000 + 2 * 15))
    asking.join()
    assert [fields["offset"] for fields in frames if fields["type"] == "message"] == list(range(1, 2001))
    assert Counter(fields["type"] for fields in frames) == {"message": 2000, "pong": 15, "error": 15}
    assert server.failures == []


@on_both_loops
@pytest.mark.parametrize("who", ["the client", "the server"])
def test_either_may_close_in_the_midst_of_much(uvicorn, loop, who):
    server = uvicorn(loop)
    client, reader = server.visit(receive_buffer=SMALL), server.visit()
    before = server.sockets
    asking = threading.Thread(target=server.get, args=("/many?count=300&bytes=5000",))
    asking.start()
    if who == "the client":
        client.write((1000).to_bytes(2), opcode=8)
    else:
        for _ in range(25):
            client.write(b"not json")
    frames = client.hear_to_the_end()
    offsets = [fields["offset"] for fields in frames if fields["type"] == "message"]
    assert offsets == list(range(1, len(offsets) + 1))
    assert client.close_code == (1000 if who == "the client" else 4501)
    assert len(list(islice(reader.frames(), 300))) == 300
    asking.join()
    client.socket.close()
    wait_until(lambda: server.sockets == before - 1)
    assert server.failures == []


@on_both_loops
def test_on_a_sigterm_each_is_closed_and_comes_back_to_where_it_was(uvicorn, loop):
    server = uvicorn(loop)
    client = server.visit()
    server.get("/many?count=10")
    list(islice(client.frames(), 10))
    server.process.send_signal(signal.SIGTERM)
    assert client.hear_to_the_end() == []
    assert client.close_code == 1012
    server.process.wait(30)
    server.start()
    back = server.visit(f"/ws{client.position}")
    assert back.welcome["recovered"]
