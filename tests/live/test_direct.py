"""Direct writes on real servers: daphne by TCP, UNIX socket and TLS, uvicorn; slow, stuck and hostile clients."""

import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice, takewhile

import pytest

from tests.kit.sockets import masked
from tests.kit.waiting import wait_until

DIRECTLY = "Connections are written to directly (daphne)"
ON_UVICORN = "Connections are written to directly (uvicorn)"
BY_ASGI = "Connections are written to by the server (ASGI send)"
MIB = 1024 * 1024
SMALL = 16 * 1024  # bytes of a receive buffer that is soon full


@pytest.mark.parametrize(
    ("way", "options", "said"),
    [
        *(
            ("tcp", {}, DIRECTLY),
            ("unix", {}, DIRECTLY),
            ("tls", {}, BY_ASGI),
            ("tcp", {"DIRECT_WRITES": False}, BY_ASGI),
        ),
        *(("asyncio", {}, ON_UVICORN), ("uvloop", {}, ON_UVICORN), ("asyncio", {"DIRECT_WRITES": False}, BY_ASGI)),
    ],
)
def test_whichever_way_everything_arrives_and_the_log_says_which_way(serve, way, options, said):
    server = serve(way, **options)
    ann, bob, plain = server.visit(), server.visit(), server.visit("/ws")
    assert bob.welcome["offset"] == 0
    assert plain.welcome == {"author": "Server", "body": "Welcome!"}
    ann.say(body="hi")
    assert ann.hear()["offset"] == bob.hear()["offset"] == 1
    assert plain.hear() == {"author": "Guest", "body": "hi"}
    server.get("/many?count=600&bytes=2000")
    for client in (ann, bob):
        assert [fields["offset"] for fields in islice(client.frames(), 600)] == list(range(2, 602))
    assert len(list(islice(plain.frames(), 600))) == 600
    ann.say(type="ping")
    assert ann.hear() == {"type": "pong"}
    back = server.visit(f"/ws?v=1&after=1&epoch={ann.epoch}")
    assert back.welcome["recovered"] is True
    assert [fields["offset"] for fields in islice(back.frames(), 600)] == list(range(2, 602))
    ways = [DIRECTLY, ON_UVICORN, BY_ASGI]
    assert [server.log.count(line) for line in ways] == [line == said for line in ways]
    assert server.failures == []


def test_the_welcome_comes_before_what_is_live_and_nothing_between_is_missed(serve):
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
            client = server.visit()
            assert client.welcome["type"] == "welcome"
            begin = client.welcome["offset"] + 1
            assert [fields["offset"] for fields in islice(client.frames(), 10)] == list(range(begin, begin + 10))
    finally:
        stop.set()
        talking.join()
    assert server.failures == []


@pytest.mark.parametrize("way", ["tcp", "asyncio", "uvloop"])
def test_answers_of_asgi_and_direct_frames_never_mix(serve, way):
    server = serve(way)
    client = server.visit()
    asking = threading.Thread(target=server.get, args=("/many?count=2000&bytes=500",))
    asking.start()
    for _ in range(15):
        client.say(type="ping")
        client.write(b"not json")
        time.sleep(0.01)
    frames = list(islice(client.frames(), 2000 + 2 * 15))
    asking.join()
    assert [fields["offset"] for fields in frames if fields["type"] == "message"] == list(range(1, 2001))
    assert Counter(fields["type"] for fields in frames) == {"message": 2000, "pong": 15, "error": 15}


@pytest.mark.parametrize(
    ("way", "options"),
    [*((way, {}) for way in ("tcp", "unix", "tls", "asyncio", "uvloop")), ("tcp", {"DIRECT_WRITES": False})],
)
def test_who_stops_reading_costs_little_holds_up_nobody_and_misses_nothing(serve, way, options):
    server = serve(way, STALLED_TIMEOUT=600, **options)  # nobody is sent away, however busy the machine is
    reader = server.visit()
    server.get("/many?count=1000&bytes=10000")  # so that what is kept anyway is there
    assert [fields["offset"] for fields in islice(reader.frames(), 1000)] == list(range(1, 1001))
    stuck = [server.visit(receive_buffer=SMALL) for _ in range(100)]
    before = server.memory
    asking = threading.Thread(target=server.get, args=("/many?count=2000&bytes=10000",))
    asking.start()
    assert [fields["offset"] for fields in islice(reader.frames(), 2000)] == list(range(1001, 3001))
    asking.join()
    grown = server.memory - before
    print(f"{way} {options}: 100 stuck clients, 20 MB gone by: {grown / MIB:.1f} MiB more")
    assert grown < 80 * MIB  # that of a server without any is up to 45
    for client in stuck[:2]:
        assert [fields["offset"] for fields in islice(client.frames(), 2000)] == list(range(1001, 3001))
    print(f"two have caught up: {(server.memory - before) / MIB:.1f} MiB more")
    server.get("/many?count=1")
    assert reader.hear()["offset"] == stuck[0].hear()["offset"] == 3001
    assert server.failures == []


def test_who_comes_back_too_late_is_told_by_a_reset_and_goes_on(serve, site):
    server = serve(KEEP_MESSAGES=200, POLL_INTERVAL=0.1)
    stuck = server.visit(receive_buffer=SMALL)
    server.get("/many?count=2000&bytes=4000")
    site.shell(PRUNE)
    server.get("/many?count=1")
    seen = list(takewhile(lambda fields: fields["offset"] != 2001, stuck.frames()))
    (reset,) = (fields for fields in seen if fields["type"] == "reset")
    assert reset["offset"] >= 1800
    assert seen[-1]["offset"] == 2000


PRUNE = """
from broadcast.engine.process import current_process
while current_process().pruning.prune("broadcast", 200, None):
    pass
"""


@pytest.mark.parametrize(
    ("way", "options"), [("tcp", {}), ("tcp", {"DIRECT_WRITES": False}), ("asyncio", {}), ("uvloop", {})]
)
def test_who_takes_nothing_for_long_is_sent_away_to_come_back(serve, way, options):
    server = serve(way, STALLED_TIMEOUT=0.5, **options)
    reader, stuck = server.visit(), server.visit(receive_buffer=SMALL)
    before = server.sockets
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(server.get, "/many?count=500&bytes=10000")
        list(islice(reader.frames(), 500))
        asking.result()
    wait_until(lambda: server.sockets == before - 1)
    with pytest.raises((EOFError, ConnectionError)):
        stuck.hear_to_the_end()
    reader.say(type="ping")
    assert reader.hear() == {"type": "pong"}
    assert server.failures == []


@pytest.mark.parametrize(
    ("way", "options"),
    [("tcp", {}), ("tls", {}), ("tcp", {"DIRECT_WRITES": False}), ("unix", {"DIRECT_WRITES": False})],
)
def test_whoever_leaves_at_whatever_moment_and_takes_nothing_is_gone_soon_and_is_no_error(serve, way, options):
    """Some have room for what comes, others not, and for some a part waits in the server."""
    server = serve(way, STALLED_TIMEOUT=1, **options)
    reader = server.visit()
    before = server.sockets
    leaving = [server.visit(receive_buffer=SMALL) for _ in range(40)]
    for client in leaving:
        server.get("/many?count=1&bytes=15000")
        with suppress(OSError):  # on a busy machine it may have been sent away by now
            client.write((1000).to_bytes(2), opcode=8)
        assert reader.hear()["type"] == "message"
    server.get("/many?count=20&bytes=15000")
    assert len(list(islice(reader.frames(), 20))) == 20
    wait_until(lambda: server.sockets <= before)
    assert server.failures == []
    assert "could not be written to" not in server.log


@pytest.mark.parametrize("options", [{}, {"DIRECT_WRITES": False}])
def test_what_was_asked_before_the_close_is_no_error_when_nobody_hears_the_answer(serve, options):
    server = serve(**options)
    before = server.sockets
    client = server.visit()
    client.socket.sendall(masked(b'{"type":"ping"}') * 5 + masked((1000).to_bytes(2), opcode=8))
    wait_until(lambda: server.sockets <= before)
    assert server.failures == []


def test_who_vanishes_while_it_is_behind_leaves_nothing(serve):
    server = serve()
    reader = server.visit()
    before = server.sockets
    for _ in range(3):
        gone = [server.visit(receive_buffer=SMALL) for _ in range(10)]
        asking = threading.Thread(target=server.get, args=("/many?count=300&bytes=10000",))
        asking.start()
        list(islice(reader.frames(), 300))
        asking.join()
        for client in gone:
            client.socket.close()
        wait_until(lambda: server.sockets <= before)
    assert server.failures == []


FLOODS = {
    "rubbish": masked(b"x"),
    "messages": masked(b'{"body":"' + b"x" * 3900 + b'"}'),
    "long ones": masked(b'{"body":"' + b"x" * 60_000 + b'"}'),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_who_floods_is_closed_costs_little_and_nobody_notices(serve, kind):
    server = serve()
    reader = server.visit()
    before = server.memory
    flooding = server.visit()
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
    print(f"{kind}: {(most - before) / MIB:.1f} MiB more; another client waited for {slowest * 1000:.0f} ms")
    assert most - before < 24 * MIB
    assert slowest < 3
    try:
        frames = flooding.hear_to_the_end()
    except (EOFError, OSError):
        frames = []
    if frames:
        assert frames[-1]["code"] == flooding.close_code == 4501
    assert server.failures == []


def pour(sock: socket.socket, data: bytes) -> None:
    """Sends up to 20 times as much, or until it is thrown out."""
    try:
        for _ in range(20):
            sock.sendall(data)
    except OSError:
        return


def test_who_floods_with_pings_and_reads_no_pong_costs_little(serve):
    """autobahn answers each of them by itself."""
    server = serve()
    reader, flooding = server.visit(), server.visit(receive_buffer=SMALL)
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
