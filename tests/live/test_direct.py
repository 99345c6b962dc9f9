"""Direct writes on a real daphne: TCP, UNIX socket, TLS; slow, stuck and hostile clients."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.live.serving import Client, Server, masked, wait_for
from tests.live.test_daphne import tracebacks

DIRECTLY = "Connections are written to directly (daphne)"
BY_ASGI = "Connections are written to by the server (ASGI send)"
MIB = 1024 * 1024
SMALL = 16 * 1024  # bytes of a receive buffer that is soon full


@pytest.fixture
def serve(database: Path) -> Iterator[Callable[..., Server]]:
    """`serve("tls", STALLED_TIMEOUT=1)` starts a server."""
    servers: list[Server] = []

    def started(way: str = "tcp", **settings: Any) -> Server:
        servers.append(Server(database, way, **settings))
        servers[-1].start()
        return servers[-1]

    yield started
    for server in servers:
        server.end()
        print(f"--- daphne, {server.way}, port {server.port}\n{server.log}")


@pytest.fixture
def visit() -> Iterator[Callable[..., Client]]:
    with ExitStack() as clients:
        yield lambda *args, **options: clients.enter_context(Client(*args, **options))


@pytest.mark.parametrize(
    ("way", "settings", "said"),
    [
        ("tcp", {}, DIRECTLY),
        ("unix", {}, DIRECTLY),
        ("tls", {}, BY_ASGI),
        ("tcp", {"DIRECT_WRITES": False}, BY_ASGI),
    ],
)
def test_whichever_way_everything_arrives_and_the_log_says_which_way(serve, visit, way, settings, said):
    server = serve(way, **settings)
    ann, bob, plain = visit(server), visit(server), visit(server, "/ws")
    epoch = ann.hear()["epoch"]
    assert bob.hear()["offset"] == 0
    assert plain.hear() == {"author": "Server", "body": "Welcome!"}
    ann.say(body="hi")
    assert ann.hear()["offset"] == bob.hear()["offset"] == 1
    assert plain.hear() == {"author": "Guest", "body": "hi"}
    server.get("/many?count=600&bytes=2000")
    for client in (ann, bob):
        assert [fields["offset"] for fields in islice(client.frames(), 600)] == list(range(2, 602))
    assert len(list(islice(plain.frames(), 600))) == 600
    ann.say(type="ping")
    assert ann.hear() == {"type": "pong"}
    back = visit(server, f"/ws?v=1&after=1&epoch={epoch}")
    assert back.hear()["recovered"] is True
    assert [fields["offset"] for fields in islice(back.frames(), 600)] == list(range(2, 602))
    assert [server.log.count(line) for line in (DIRECTLY, BY_ASGI)] == [said == DIRECTLY, said == BY_ASGI]
    assert tracebacks(server.log) == []


def test_the_welcome_comes_before_what_is_live_and_nothing_between_is_missed(serve, visit):
    """Clients come while messages go by all the time."""
    server = serve()
    stop = threading.Event()

    def talk() -> None:
        while not stop.is_set():
            server.get("/many?count=20")

    talking = threading.Thread(target=talk)
    talking.start()
    try:
        for _ in range(40):
            client = visit(server)
            frames = client.frames()
            welcome = next(frames)
            assert welcome["type"] == "welcome"
            offsets = [fields["offset"] for fields in islice(frames, 10)]
            assert offsets == list(range(welcome["offset"] + 1, welcome["offset"] + 11))
    finally:
        stop.set()
        talking.join()
    assert tracebacks(server.log) == []


def test_answers_of_asgi_and_direct_frames_never_mix(serve, visit):
    server = serve()
    client = visit(server)
    client.hear()
    asking = threading.Thread(target=server.get, args=("/many?count=2000&bytes=500",))
    asking.start()
    for number in range(30):
        client.say(type="ping")
        client.write(b"not json")
        client.say(type="ping") if number % 10 == 0 else None
        time.sleep(0.01)
        if number % 15 == 14:
            break
    offsets: list[int] = []
    pongs = errors = 0
    frames = client.frames()
    while len(offsets) < 2000 or errors < 15:
        fields = next(frames)
        pongs += fields["type"] == "pong"
        errors += fields["type"] == "error"
        if fields["type"] == "message":
            offsets.append(fields["offset"])
    asking.join()
    assert offsets == list(range(1, 2001))
    assert (pongs, errors) == (17, 15)


@pytest.mark.parametrize(
    ("way", "settings"), [("tcp", {}), ("unix", {}), ("tls", {}), ("tcp", {"DIRECT_WRITES": False})]
)
def test_who_stops_reading_costs_little_holds_up_nobody_and_misses_nothing(serve, visit, way, settings):
    server = serve(way, **settings)
    reader = visit(server)
    reader.hear()
    server.get("/many?count=1000&bytes=10000")  # so that what is kept anyway is there
    assert [fields["offset"] for fields in islice(reader.frames(), 1000)] == list(range(1, 1001))
    stuck = [visit(server, receive_buffer=SMALL) for _ in range(100)]
    for client in stuck:
        client.hear()
    before = server.memory
    asking = threading.Thread(target=server.get, args=("/many?count=3000&bytes=10000",))
    asking.start()
    assert [fields["offset"] for fields in islice(reader.frames(), 3000)] == list(range(1001, 4001))
    asking.join()
    grown = server.memory - before
    print(f"{way} {settings}: 100 stuck clients, 30 MB gone by: {grown / MIB:.1f} MiB more")
    assert grown < 80 * MIB  # that of a server without any is up to 45
    for client in stuck[:5]:
        assert [fields["offset"] for fields in islice(client.frames(), 3000)] == list(range(1001, 4001))
    print(f"five have caught up: {(server.memory - before) / MIB:.1f} MiB more")
    server.get("/many?count=1")
    assert reader.hear()["offset"] == stuck[0].hear()["offset"] == 4001
    assert tracebacks(server.log) == []


def test_who_comes_back_too_late_is_told_by_a_reset_and_goes_on(serve, visit, site):
    server = serve(KEEP_MESSAGES=200, POLL_INTERVAL=0.1)
    stuck = visit(server, receive_buffer=SMALL)
    stuck.hear()
    server.get("/many?count=2000&bytes=4000")
    site.manage("shell", "-v", "0", "-c", PRUNE)
    server.get("/many?count=1")
    frames = stuck.frames()
    seen: list[Any] = []
    while not seen or seen[-1]["offset"] != 2001:
        seen.append(next(frames))
    resets = [fields for fields in seen if fields["type"] == "reset"]
    assert len(resets) == 1
    after = seen[seen.index(resets[0]) + 1 :]
    assert resets[0]["offset"] >= 1800
    assert [fields["offset"] for fields in after] == list(range(resets[0]["offset"] + 1, 2002))


PRUNE = """
from broadcast.engine.storage.log import prune
while prune("broadcast", 200, None):
    pass
"""


@pytest.mark.parametrize("settings", [{}, {"DIRECT_WRITES": False}])
def test_who_takes_nothing_for_long_is_sent_away_to_come_back(serve, visit, settings):
    server = serve(STALLED_TIMEOUT=0.5, **settings)
    reader, stuck = visit(server), visit(server, receive_buffer=SMALL)
    reader.hear(), stuck.hear()
    before = server.sockets
    server.get("/many?count=500&bytes=10000")
    list(islice(reader.frames(), 500))
    wait_for(lambda: server.sockets == before - 1)
    with pytest.raises((EOFError, ConnectionError)):
        stuck.hear_to_the_end()
    reader.say(type="ping")
    assert reader.hear() == {"type": "pong"}
    assert tracebacks(server.log) == []


def test_who_says_that_it_goes_and_takes_nothing_is_waited_for_no_longer_than_others(serve, visit):
    """autobahn has answered its close, which waits behind what it does not take."""
    server = serve(STALLED_TIMEOUT=1)
    reader, going = visit(server), visit(server, receive_buffer=SMALL)
    reader.hear(), going.hear()
    before = server.sockets
    server.get("/many?count=500&bytes=10000")
    list(islice(reader.frames(), 500))
    going.write((1000).to_bytes(2), opcode=8)
    wait_for(lambda: server.sockets == before - 1)
    assert tracebacks(server.log) == []


@pytest.mark.parametrize(
    ("way", "settings"),
    [("tcp", {}), ("tls", {}), ("tcp", {"DIRECT_WRITES": False}), ("unix", {"DIRECT_WRITES": False})],
)
def test_whoever_leaves_at_whatever_moment_and_takes_nothing_is_gone_soon_and_is_no_error(serve, visit, way, settings):
    """Some have room for what comes, others not, and for some a part waits in the server."""
    server = serve(way, STALLED_TIMEOUT=1, **settings)
    reader = visit(server)
    reader.hear()
    before = server.sockets
    leaving = [visit(server, receive_buffer=SMALL) for _ in range(40)]
    for client in leaving:
        client.hear()
        server.get("/many?count=1&bytes=15000")
        client.write((1000).to_bytes(2), opcode=8)
        assert reader.hear()["type"] == "message"
    server.get("/many?count=20&bytes=15000")
    assert len(list(islice(reader.frames(), 20))) == 20
    wait_for(lambda: server.sockets == before)
    assert tracebacks(server.log) == []
    assert "could not be written to" not in server.log


@pytest.mark.parametrize("settings", [{}, {"DIRECT_WRITES": False}])
def test_what_was_asked_before_the_close_is_no_error_when_nobody_hears_the_answer(serve, visit, settings):
    server = serve(**settings)
    before = server.sockets
    client = visit(server)
    client.hear()
    client.socket.sendall(masked(b'{"type":"ping"}') * 5 + masked((1000).to_bytes(2), opcode=8))
    wait_for(lambda: server.sockets == before)
    assert tracebacks(server.log) == []


def test_who_vanishes_while_it_is_behind_leaves_nothing(serve, visit):
    server = serve()
    reader = visit(server)
    reader.hear()
    before = server.sockets
    for _ in range(3):
        gone = [Client(server, receive_buffer=SMALL) for _ in range(10)]
        asking = threading.Thread(target=server.get, args=("/many?count=300&bytes=10000",))
        asking.start()
        list(islice(reader.frames(), 300))
        asking.join()
        for client in gone:
            client.socket.close()
        wait_for(lambda: server.sockets == before)
    assert tracebacks(server.log) == []


FLOODS = {
    "rubbish": masked(b"x"),
    "nothing": masked(b""),
    "pings": masked(b'{"type":"ping"}'),
    "messages": masked(b'{"body":"' + b"x" * 3900 + b'"}'),
    "long ones": masked(b'{"body":"' + b"x" * 60_000 + b'"}'),
}


@pytest.mark.parametrize("kind", FLOODS)
@pytest.mark.parametrize("way", ["tcp", "tls"])
def test_who_floods_is_closed_costs_little_and_nobody_notices(serve, visit, kind, way):
    server = serve(way)
    reader = visit(server)
    reader.hear()
    before = server.memory
    flooding = visit(server)
    much = FLOODS[kind] * (1 + 2 * MIB // len(FLOODS[kind]))
    slowest = 0.0
    flood = threading.Thread(target=pour, args=(flooding.socket, much))
    flood.start()
    most = before
    while flood.is_alive():
        begun = time.monotonic()
        reader.say(type="ping")
        while reader.hear()["type"] != "pong":
            pass
        slowest = max(slowest, time.monotonic() - begun)
        most = max(most, server.memory)
        time.sleep(0.06)  # within what a client may say
    flood.join()
    print(f"{way}, {kind}: {(most - before) / MIB:.1f} MiB more; another client waited for {slowest * 1000:.0f} ms")
    assert most - before < 24 * MIB
    assert slowest < 3
    try:
        frames = flooding.hear_to_the_end()
    except (EOFError, OSError):
        frames = []
    if frames:
        assert frames[-1]["code"] == flooding.close_code == 4501
    assert tracebacks(server.log) == []


def pour(sock: socket.socket, data: bytes) -> None:
    """Sends up to 100 times as much, or until it is thrown out."""
    try:
        for _ in range(100):
            sock.sendall(data)
    except OSError:
        return


def test_who_floods_with_pings_and_reads_no_pong_costs_little(serve, visit):
    """autobahn answers each of them by itself."""
    server = serve()
    reader, flooding = visit(server), visit(server, receive_buffer=SMALL)
    reader.hear()
    before = server.memory
    flooding.socket.settimeout(1)
    sent = 0
    try:
        while sent < 60 * MIB:
            sent += flooding.socket.send(masked(b"p" * 125, opcode=9) * 500)
    except TimeoutError:
        pass
    print(f"{sent / MIB:.1f} MiB of pings: {(server.memory - before) / MIB:.1f} MiB more")
    assert sent < 20 * MIB
    assert server.memory - before < 8 * MIB
    reader.say(type="ping")
    assert reader.hear() == {"type": "pong"}
