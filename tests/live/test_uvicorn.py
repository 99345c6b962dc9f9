"""Direct writes on a real uvicorn: both event loops, compression agreed upon or not, and all that is left to ASGI."""

import signal
import threading
from collections import Counter
from collections.abc import Callable
from itertools import islice

import pytest

from tests.kit.uvicorns import Uvicorn
from tests.kit.waiting import wait_until

DIRECTLY = "Connections are written to directly (uvicorn)"
BY_ASGI = "Connections are written to by the server (ASGI send)"
MIB = 1024 * 1024
SMALL = 16 * 1024  # bytes of a receive buffer that is soon full

on_both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@pytest.fixture
def uvicorn(serving, database) -> Callable[..., Uvicorn]:
    """`uvicorn("uvloop")` starts one; keywords are settings of the app."""

    def start(loop="asyncio", ws="websockets-sansio", way="tcp", application="", **settings):
        server = Uvicorn(database, loop, ws, way, **settings)
        server.application = application or server.application
        return serving(server)

    return start


@pytest.mark.parametrize(
    ("loop", "ws", "way", "options", "said"),
    [
        ("asyncio", "auto", "tcp", {}, DIRECTLY),
        ("uvloop", "auto", "tcp", {}, DIRECTLY),
        ("asyncio", "wsproto", "tcp", {}, BY_ASGI),
        ("asyncio", "websockets", "tcp", {}, BY_ASGI),
        ("asyncio", "auto", "tls", {}, BY_ASGI),
        ("uvloop", "auto", "unix", {}, BY_ASGI),
        ("asyncio", "auto", "unix", {}, BY_ASGI),
        ("asyncio", "auto", "tcp", {"DIRECT_WRITES": False}, BY_ASGI),
        ("asyncio", "auto", "tcp", {"application": "tests.live.uvicorn_hosts:wrapped"}, BY_ASGI),
    ],
)
def test_whichever_way_everything_arrives_and_the_log_says_which_way(uvicorn, loop, ws, way, options, said):
    server = uvicorn(loop, ws, way, **options)
    clients = [server.visit(), server.visit_deflated(), server.visit_deflated()]
    plain = server.visit("/ws")
    clients[0].say(body="hi")
    assert [client.hear()["offset"] for client in clients] == [1, 1, 1]
    assert plain.hear() == {"author": "Guest", "body": "hi"}
    server.get("/many?count=600&bytes=2000")
    for client in clients:
        assert [fields["offset"] for fields in islice(client.frames(), 600)] == list(range(2, 602))
        client.say(type="ping")
        assert client.hear() == {"type": "pong"}
    assert len(list(islice(plain.frames(), 600))) == 600
    back = server.visit(f"/ws?v=1&after=1&epoch={clients[0].epoch}")
    assert [fields["offset"] for fields in islice(back.frames(), 600)] == list(range(2, 602))
    assert [server.log.count(line) for line in (DIRECTLY, BY_ASGI)] == [said == DIRECTLY, said == BY_ASGI]
    assert server.failures == []


@on_both_loops
def test_what_the_server_says_and_direct_frames_never_mix(uvicorn, loop):
    server = uvicorn(loop)
    clients = [server.visit(), server.visit_deflated()]
    asking = threading.Thread(target=server.get, args=("/many?count=2000&bytes=500",))
    asking.start()
    for _ in range(15):
        for client in clients:
            client.say(type="ping")
            client.write(b"not json")
            client.write(b"alive", opcode=9)
    for client in clients:
        frames = list(islice(client.frames(), 2000 + 2 * 15))
        assert [fields["offset"] for fields in frames if fields["type"] == "message"] == list(range(1, 2001))
        assert Counter(fields["type"] for fields in frames) == {"message": 2000, "pong": 15, "error": 15}
    asking.join()
    assert server.failures == []


@on_both_loops
def test_who_stops_reading_costs_little_holds_up_nobody_and_misses_nothing(uvicorn, loop):
    server = uvicorn(loop)
    reader = server.visit()
    server.get("/many?count=1000&bytes=10000")  # so that what is kept anyway is there
    assert [fields["offset"] for fields in islice(reader.frames(), 1000)] == list(range(1, 1001))
    stuck = [server.visit(receive_buffer=SMALL) for _ in range(100)]
    before = server.memory
    asking = threading.Thread(target=server.get, args=("/many?count=1500&bytes=10000",))
    asking.start()
    assert [fields["offset"] for fields in islice(reader.frames(), 1500)] == list(range(1001, 2501))
    asking.join()
    grown = server.memory - before
    print(f"{loop}: 100 stuck clients, 15 MB gone by: {grown / MIB:.1f} MiB more")
    assert grown < 80 * MIB
    for client in stuck[:5]:
        assert [fields["offset"] for fields in islice(client.frames(), 1500)] == list(range(1001, 2501))
    server.get("/many?count=1")
    assert reader.hear()["offset"] == stuck[0].hear()["offset"] == 2501
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


@on_both_loops
def test_who_takes_nothing_for_long_is_sent_away_to_come_back(uvicorn, loop):
    server = uvicorn(loop, STALLED_TIMEOUT=0.5)
    reader, stuck = server.visit(), server.visit(receive_buffer=SMALL)
    before = server.sockets
    asking = threading.Thread(target=server.get, args=("/many?count=500&bytes=10000",))
    asking.start()
    assert len(list(islice(reader.frames(), 500))) == 500
    asking.join()
    wait_until(lambda: server.sockets == before - 1)
    with pytest.raises((EOFError, ConnectionError)):
        stuck.hear_to_the_end()
    assert server.failures == []
