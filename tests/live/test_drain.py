"""SIGTERM on a real daphne: nobody is lost, what is under way is finished, and the process ends in time."""

import re
import signal
import threading
import time
from itertools import islice

import pytest

from tests.kit.waiting import wait_until
from tests.live.fleet import new_database
from tests.live.serving import Answer, Client, Server
from tests.live.test_daphne import tracebacks

DRAINING = "connections are sent away"


def terminate(server: Server) -> None:
    """Asks the server to end and waits until it has begun to."""
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: DRAINING in server.log)


# Django's handler drops its task that waits for the client to go, if daphne cancels it right then.
DJANGOS_OWN = re.compile(r".*never retrieved\n.*listen_for_disconnect.*\nTraceback.*(?:\n .*)*\n.*RequestAborted\n")


def complaints(server: Server) -> list[str]:
    words = ("KeyError", "Task was destroyed", "Exception ignored", "was never awaited", "Warning")
    said = DJANGOS_OWN.sub("", server.log)
    return tracebacks(said) + [word for word in words if word in said]


@pytest.mark.parametrize("way", ["tcp", "unix", "tls"])
def test_each_client_is_told_when_to_come_back(serve, way):
    """Although all of them were upgraded within the last second."""
    server = serve(way)
    clients = [server.visit() for _ in range(20)]
    plain = server.visit("/ws")
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    waits = []
    for client in clients:
        (bye,) = client.hear_to_the_end()
        assert (bye["type"], bye["code"], bye["reconnect"]) == ("bye", 4000, True)
        assert client.close_code == 4000
        waits.append(bye["after_ms"])
    assert plain.hear_to_the_end() == []
    assert plain.close_code == 4000
    assert len(set(waits)) > 5
    assert 0 <= min(waits) <= max(waits) <= 21 * 2
    assert server.process.wait(10) == 0
    assert time.monotonic() - begun < 5
    assert complaints(server) == []


@pytest.mark.parametrize("way", ["tcp", "unix", "tls"])
def test_nobody_new_comes_in_and_a_request_under_way_is_finished(serve, way):
    server = serve(way)
    client = server.visit()
    with server.ask("/slow?seconds=1.5") as answer:
        assert client.hear()["body"] == "asked"
        terminate(server)
        wait_until(lambda: not server.is_listening())
        assert server.process.poll() is None
        assert answer.body() == b"done"
    assert server.process.wait(10) == 0
    assert [fields["type"] for fields in client.hear_to_the_end()] == ["bye"]
    assert complaints(server) == []


def test_a_request_under_way_is_finished_also_where_there_was_no_websocket_yet(serve):
    server = serve()
    with server.ask("/slow?seconds=1.5") as answer:
        wait_until(lambda: b"asked" in server.get("/broadcast/?format=json"))
        terminate(server)
        assert answer.body() == b"done"
    assert server.process.wait(10) == 0
    assert complaints(server) == []


def test_an_answer_is_finished_also_if_its_reader_is_slow(serve):
    server = serve()
    server.visit()
    size = 8 * 1024 * 1024
    with Answer(server, f"/large?bytes={size}", receive_buffer=16 * 1024) as answer:
        wait_until(lambda: "GET /large" in server.log)
        terminate(server)
        time.sleep(0.3)  # longer than it takes to drain without it
        assert len(answer.body()) == size
    assert server.process.wait(10) == 0
    assert complaints(server) == []


def test_a_request_that_never_ends_holds_it_up_no_longer_than_the_setting_says(serve):
    server = serve(DRAIN_TIMEOUT=1)
    server.visit()
    with server.ask("/endless") as answer:
        answer.socket.recv(1000)
        begun = time.monotonic()
        terminate(server)
        visited = server.is_listening()
        assert server.process.wait(10) == 0
        assert 0.9 < time.monotonic() - begun < 4
    assert not visited
    assert "did not finish within DRAIN_TIMEOUT (1 s)" in server.log
    assert complaints(server) == []


def test_a_thread_that_is_stuck_holds_it_up_little_longer(serve):
    server = serve(DRAIN_TIMEOUT=1)
    client = server.visit()
    with server.ask("/stuck?seconds=30"):
        assert client.hear()["body"] == "asked"
        begun = time.monotonic()
        terminate(server)
        assert server.process.wait(20) == 0
        assert time.monotonic() - begun < 8
    assert "A thread did not end within DRAIN_TIMEOUT" in server.log


def test_a_database_that_hangs_holds_it_up_little_longer(serve, postgres_server):
    server = serve(DRAIN_TIMEOUT=1)
    server.end()
    server.env["DATABASE_URL"] = new_database(postgres_server, "hanging")
    server.start()
    server.visit()
    try:
        postgres_server.pause()
        time.sleep(1.5)  # by then the hub asks it
        begun = time.monotonic()
        terminate(server)
        assert server.process.wait(20) == 0
        assert time.monotonic() - begun < 8
    finally:
        postgres_server.resume()


def test_a_second_signal_ends_it_at_once(serve):
    server = serve(DRAIN_TIMEOUT=60)
    server.visit()
    with server.ask("/endless") as answer:
        answer.socket.recv(1000)
        terminate(server)
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert time.monotonic() - begun < 4
    assert complaints(server) == []


def test_sockets_of_other_apps_do_not_hold_it_up(serve):
    server = serve()
    server.visit()
    for _ in range(3):
        server.visit("/other")
    begun = time.monotonic()
    terminate(server)
    assert server.process.wait(10) == 0
    assert time.monotonic() - begun < 4
    assert complaints(server) == []


def test_a_client_that_reads_nothing_does_not_hold_it_up(serve):
    server = serve()
    server.visit(receive_buffer=16 * 1024)
    server.get("/many?count=300&bytes=10000")
    begun = time.monotonic()
    terminate(server)
    assert server.process.wait(10) == 0
    assert time.monotonic() - begun < 6
    assert complaints(server) == []


def test_who_still_comes_in_over_an_open_connection_is_sent_away_too(serve):
    """A browser's connection that was kept open may become a WebSocket after the server has stopped to listen."""
    server = serve()
    first = server.visit()
    late = server.socket()
    with late, server.ask("/slow?seconds=2") as answer:
        assert first.hear()["body"] == "asked"
        late.sendall(b"GET /large?bytes=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert late.recv(1000)
        terminate(server)
        assert [fields["type"] for fields in first.hear_to_the_end()] == ["bye"]
        server_socket, server.socket = server.socket, lambda buffer=0: late  # type: ignore[method-assign]
        client = Client(server)
        server.socket = server_socket  # type: ignore[method-assign]
        frames = client.hear_to_the_end()
        assert [fields["type"] for fields in frames][-1] == "bye"
        assert client.close_code == 4000
        assert answer.body() == b"done"
    assert server.process.wait(10) == 0
    assert complaints(server) == []


def test_without_clients_it_ends_at_once(serve):
    server = serve()
    with Client(server) as client:
        client.hear()
    begun = time.monotonic()
    terminate(server)
    assert server.process.wait(10) == 0
    assert time.monotonic() - begun < 3
    assert complaints(server) == []


def test_it_ends_under_load(serve):
    """Signed off while everybody talks, comes and goes."""
    server = serve()
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            try:
                with Client(server) as client:
                    client.hear()
                    client.say(body="hi")
                    client.hear()
            except (OSError, EOFError, StopIteration, AssertionError):
                time.sleep(0.05)

    visitors = [threading.Thread(target=come_and_go) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    listener = server.visit()
    list(islice(listener.frames(), 100))
    server.process.send_signal(signal.SIGTERM)
    frames = listener.hear_to_the_end()
    assert server.process.wait(15) == 0
    stop.set()
    for visitor in visitors:
        visitor.join()
    assert frames[-1]["type"] == "bye"
    assert complaints(server) == []


def test_clients_that_move_to_another_server_miss_nothing(serve):
    servers = [serve(POLL_INTERVAL=0.1), serve(POLL_INTERVAL=0.1)]
    wanted = 600
    clients = [servers[0].visit() for _ in range(10)]
    followed: list[list[int]] = [[] for _ in clients]

    def follow(number: int) -> None:
        """As the page does: comes back to where a `bye` left it, after the time it was told."""
        client = clients[number]
        while True:
            assert client.welcome["recovered"] or not followed[number]
            wait = 0.0
            for fields in client.frames():
                if fields["type"] == "message":
                    followed[number].append(fields["offset"])
                    if fields["offset"] == wanted:
                        return
                elif fields["type"] == "bye":
                    wait = fields["after_ms"] / 1000
            assert client.close_code == 4000
            time.sleep(wait)
            after = followed[number][-1] if followed[number] else 0
            client = servers[1].visit(f"/ws?v=1&after={after}&epoch={client.welcome['epoch']}")

    threads = [threading.Thread(target=follow, args=(number,)) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    for round_ in range(6):
        servers[1].get("/many?count=100")
        if round_ == 2:
            wait_until(lambda: all(len(offsets) > 150 for offsets in followed))
            servers[0].process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(60)
    assert servers[0].process.wait(10) == 0
    assert followed == [list(range(1, wanted + 1))] * len(clients)
    assert complaints(servers[0]) == complaints(servers[1]) == []
