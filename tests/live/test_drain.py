"""SIGTERM on a real daphne: nobody is lost, what is under way is finished, and the process ends in time."""

import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

from tests.kit.clients import ManualClient
from tests.kit.servers import Answer, Server, new_database
from tests.kit.waiting import wait_until

DRAINING = "connections are sent away"


def terminate(server: Server) -> None:
    """Asks the server to end and waits until it has begun to."""
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: DRAINING in server.log)


# Django's handler drops its task that waits for the client to go, if daphne cancels it right then.
DJANGOS_OWN = re.compile(r".*never retrieved\n.*listen_for_disconnect.*\nTraceback.*(?:\n .*)*\n.*RequestAborted\n")
COMPLAINT = re.compile(
    "Traceback|ERROR|CRITICAL|Unhandled|never (retrieved|awaited)|KeyError|Task was destroyed|Exception ignored|Warning"
)


def ends_well(server: Server, within: float = 10) -> None:
    assert server.process.wait(within) == 0
    assert COMPLAINT.findall(DJANGOS_OWN.sub("", server.log)) == []


@pytest.mark.parametrize("way", ["tcp", "unix", "tls"])
def test_each_client_is_told_when_to_come_back(serve, way):
    """Although all of them were upgraded within the last second."""
    server = serve(way)
    clients = [server.visit() for _ in range(20)]
    plain = server.visit("/ws")
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
    ends_well(server, within=5)


@pytest.mark.parametrize("way", ["tcp", "unix", "tls"])
def test_nobody_new_comes_in_and_a_request_under_way_is_finished(serve, way):
    server = serve(way)
    client = server.visit()
    with Answer(server, "/slow?seconds=1.5") as answer:
        assert client.hear()["body"] == "asked"
        terminate(server)
        wait_until(lambda: not server.is_listening())
        assert server.process.poll() is None
        assert answer.body() == b"done"
    ends_well(server)
    assert [fields["type"] for fields in client.hear_to_the_end()] == ["bye"]


def test_a_request_under_way_is_finished_also_where_there_was_no_websocket_yet(serve):
    server = serve()
    with Answer(server, "/slow?seconds=1.5") as answer:
        wait_until(lambda: b"asked" in server.get("/broadcast/?format=json"))
        terminate(server)
        assert answer.body() == b"done"
    ends_well(server)


def test_an_answer_is_finished_also_if_its_reader_is_slow(serve):
    server = serve()
    server.visit()
    size = 8 * 1024 * 1024
    with Answer(server, f"/large?bytes={size}", receive_buffer=16 * 1024) as answer:
        wait_until(lambda: "GET /large" in server.log)
        terminate(server)
        time.sleep(0.3)  # longer than it takes to drain without it
        assert len(answer.body()) == size
    ends_well(server)


def test_a_request_that_never_ends_holds_it_up_no_longer_than_the_setting_says(serve):
    server = serve(DRAIN_TIMEOUT=1)
    server.visit()
    with Answer(server, "/endless") as answer:
        answer.socket.recv(1000)
        begun = time.monotonic()
        terminate(server)
        wait_until(lambda: not server.is_listening())
        ends_well(server, within=8)
        assert time.monotonic() - begun > 0.9
    assert "did not finish within DRAIN_TIMEOUT (1 s)" in server.log


def test_a_thread_that_is_stuck_holds_it_up_little_longer(serve):
    server = serve(DRAIN_TIMEOUT=1)
    client = server.visit()
    with Answer(server, "/stuck?seconds=30"):
        assert client.hear()["body"] == "asked"
        terminate(server)
        assert server.process.wait(8) == 0
    assert "A thread did not end within DRAIN_TIMEOUT" in server.log


def test_a_database_that_hangs_holds_it_up_little_longer(serve, postgres_server):
    server = serve(DRAIN_TIMEOUT=1, POLL_INTERVAL=0.1)
    server.end()
    server.env["DATABASE_URL"] = new_database(postgres_server, "hanging")
    server.start()
    server.visit()
    try:
        postgres_server.pause()
        time.sleep(0.3)  # by then the hub asks it
        terminate(server)
        assert server.process.wait(8) == 0
    finally:
        postgres_server.resume()


def test_a_second_signal_ends_it_at_once(serve):
    server = serve(DRAIN_TIMEOUT=60)
    server.visit()
    with Answer(server, "/endless") as answer:
        answer.socket.recv(1000)
        terminate(server)
        server.process.send_signal(signal.SIGTERM)
        ends_well(server, within=4)


def test_sockets_of_other_apps_and_a_client_that_reads_nothing_do_not_hold_it_up(serve):
    server = serve()
    server.visit(receive_buffer=16 * 1024)
    for _ in range(3):
        server.visit("/other")
    server.get("/many?count=300&bytes=10000")
    terminate(server)
    ends_well(server, within=6)


def test_who_still_comes_in_over_an_open_connection_is_sent_away_too(serve):
    """A browser's connection that was kept open may become a WebSocket after the server has stopped to listen."""
    server = serve()
    first = server.visit()
    late = server.socket()
    with late, Answer(server, "/slow?seconds=2") as answer:
        assert first.hear()["body"] == "asked"
        late.sendall(b"GET /large?bytes=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert late.recv(1000)
        terminate(server)
        assert [fields["type"] for fields in first.hear_to_the_end()] == ["bye"]
        client = ManualClient(late)
        assert client.hear_to_the_end()[-1]["type"] == "bye"
        assert client.close_code == 4000
        assert answer.body() == b"done"
    ends_well(server)


def test_without_clients_it_ends_at_once(serve):
    server = serve()
    server.visit().socket.close()
    terminate(server)
    ends_well(server, within=3)


def test_it_ends_under_load(serve):
    """Signed off while everybody talks, comes and goes."""
    server = serve()
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            try:
                with ManualClient(server.socket()).welcomed() as client:
                    client.say(body="hi")
                    client.hear()
            except (OSError, EOFError, AssertionError):
                time.sleep(0.05)

    with ThreadPoolExecutor(8) as pool:
        visitors = [pool.submit(come_and_go) for _ in range(8)]
        try:
            listener = server.visit()
            list(islice(listener.frames(), 100))
            server.process.send_signal(signal.SIGTERM)
            assert listener.hear_to_the_end()[-1]["type"] == "bye"
            ends_well(server, within=15)
        finally:
            stop.set()
    assert [visitor.result() for visitor in visitors] == [None] * 8


def test_clients_that_move_to_another_server_miss_nothing(serve):
    servers = [serve(POLL_INTERVAL=0.1), serve(POLL_INTERVAL=0.1)]
    wanted = 600
    clients = [servers[0].visit() for _ in range(10)]

    def follow(client: ManualClient) -> int:
        """As the page does: comes back to where a `bye` left it, after the time it was told."""
        moves = 0
        while client.offset < wanted:
            frame = client.hear()
            if frame["type"] == "bye":
                assert client.hear_to_the_end() == []
                assert client.close_code == 4000
                time.sleep(frame["after_ms"] / 1000)
                client = servers[1].visit(f"/ws{client.position}")
                assert client.welcome["recovered"]
                moves += 1
        return moves

    with ThreadPoolExecutor(len(clients)) as pool:
        following = [pool.submit(follow, client) for client in clients]
        for round_ in range(6):
            servers[1].get("/many?count=100")
            if round_ == 2:
                wait_until(lambda: all(client.offset > 150 for client in clients))
                servers[0].process.send_signal(signal.SIGTERM)
        assert [each.result(60) for each in following] == [1] * len(clients)
    ends_well(servers[0])
    assert servers[1].failures == []
