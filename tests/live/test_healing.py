"""What breaks heals by itself: nothing is lost, and each process says once that it broke and once that it is well."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from broadcast.engine.hints.receiver import LAYER_TIMEOUT, RETRY_AFTER
from tests.kit.clients import WAIT, Client
from tests.kit.servers import Publisher, new_database
from tests.kit.waiting import wait_until
from tests.services import Postgres, Redis, postgres_program
from tests.site import Daphne, Site

Start = Callable[..., Daphne]
Visit = Callable[..., Client]

LAYER = ["The channel layer cannot be reached", "The channel layer can be reached again"]
LOG = ["The message log cannot be used", "The message log can be used again"]


def told(process: Any) -> list[str]:
    """What the app's loggers said of trouble and its end, not what clients were told: each line up to its cause."""
    lines = re.findall(r"^\S+ \S+ (?:ERROR|WARNING) +broadcast: (.*)$", process.log, re.MULTILINE)
    return [line.partition(",")[0].partition(":")[0] for line in lines if not line.startswith("Refused ")]


def reaches(publisher: Publisher, clients: list[Client], everybody: Sequence[Client] = ()) -> None:
    """Sends until hints cross the layer again: five in a row arrive long before a look into the log.

    ``everybody`` hears it too, however late.
    """
    quick, number, deadline = 0, 0, time.monotonic() + WAIT
    while quick < 5:
        assert time.monotonic() < deadline, "Messages come by polling only"
        number += 1
        body = f"quick {number}"
        publisher.send_until_sent(body)
        begun = time.monotonic()
        for client in clients:
            client.hear_until(body)
        quick = quick + 1 if time.monotonic() - begun < 0.2 else 0
    for client in everybody:
        if client not in clients:
            client.hear_until(body)


def say_one_and_hear(publisher: Publisher, clients: list[Client], body: str) -> None:
    publisher.send_until_sent(body)
    for client in clients:
        client.hear_until(body)


def chat(clients: list[Client], body: str) -> None:
    """Each client in turn says it, and all hear it."""
    for number, speaker in enumerate(clients):
        speaker.say(body=f"{number}: {body}")
        for client in clients:
            client.hear_until(f"{number}: {body}")


# Redis


LAYERS = ["pubsub", "core"]


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest, fleet_env: dict[str, str]) -> str:
    fleet_env["REDIS_LAYER"] = request.param
    return str(request.param)


@pytest.fixture
def two(layer: str, start: Start) -> list[Daphne]:
    return [start(), start()]


def test_redis_is_killed_and_comes_back_empty(
    two: list[Daphne], visit: Visit, publisher: Publisher, redis: Redis
) -> None:
    clients = [visit(server) for server in two]
    reaches(publisher, clients)
    redis.kill()
    say_one_and_hear(publisher, clients, "without Redis")
    chat(clients, "without Redis, too")
    wait_until(lambda: all(told(process) == LAYER[:1] for process in (*two, publisher)))
    redis.start()
    wait_until(lambda: [told(process) for process in (*two, publisher)] == [LAYER] * 3)
    chat(clients, "with Redis")
    reaches(publisher, clients)
    assert [told(process) for process in (*two, publisher)] == [LAYER] * 3


@pytest.fixture
def publishers(fleet_env: dict[str, str], tmp_path: Path) -> Iterator[dict[str, Publisher]]:
    """One on each kind of layer."""
    sites = {layer: Site(tmp_path / "none", **fleet_env, REDIS_LAYER=layer) for layer in LAYERS}
    yield {layer: Publisher(site, tmp_path / f"{layer}.log") for layer, site in sites.items()}
    for site in sites.values():
        site.end()


def test_redis_hangs_for_a_while(start: Start, visit: Visit, publishers: dict[str, Publisher], redis: Redis) -> None:
    """On both layers at once: they share the log, and hints cross each for itself."""
    servers = {layer: [start(REDIS_LAYER=layer) for _ in range(2)] for layer in LAYERS}
    clients = {layer: [visit(server) for server in servers[layer]] for layer in LAYERS}
    processes = [*servers["pubsub"], *servers["core"], *publishers.values()]
    everybody = [*clients["pubsub"], *clients["core"]]
    for layer in LAYERS:
        reaches(publishers[layer], clients[layer], everybody)
    redis.pause()
    begun = time.monotonic()
    for publisher in publishers.values():
        say_one_and_hear(publisher, everybody, "while Redis hangs")
    wait_until(lambda: all(told(process) == LAYER[:1] for process in processes))
    everybody.append(visit(servers["core"][0]))
    while time.monotonic() - begun < 2 * (LAYER_TIMEOUT + RETRY_AFTER):
        chat(everybody, "also to newcomers")
    assert [told(process) for process in processes] == [LAYER[:1]] * len(processes)
    redis.resume()
    wait_until(lambda: [told(process) for process in processes] == [LAYER] * len(processes))
    chat(everybody, "all is well")
    for layer in LAYERS:
        reaches(publishers[layer], clients[layer], everybody)
    assert [told(process) for process in processes] == [LAYER] * len(processes)


def test_redis_is_not_there_at_the_start(
    layer: str, start: Start, visit: Visit, publisher: Publisher, redis: Redis
) -> None:
    redis.kill()
    server = start()
    client = visit(server)
    say_one_and_hear(publisher, [client], "before Redis")
    wait_until(lambda: [told(process) for process in (server, publisher)] == [LAYER[:1]] * 2)
    redis.start()
    reaches(publisher, [client])
    wait_until(lambda: [told(process) for process in (server, publisher)] == [LAYER] * 2)
    failures = server.failures
    server.stop()
    assert server.failures == failures


@pytest.mark.parametrize("layer", ["core"], indirect=True)
def test_more_than_the_core_layer_holds(
    layer: str, start: Start, visit: Visit, fleet_site: Site, publisher: Publisher
) -> None:
    """It drops what exceeds a hundred events of a channel, and tells nobody."""
    server = start()
    client = visit(server)
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        fleet_site.shell("from broadcast import send\nfor number in range(300): send(str(number))")
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert client.hear_until("299") == [str(number) for number in range(300)]
    reaches(publisher, [client])
    assert told(server) == []


# PostgreSQL


def test_postgresql_drops_connections_and_is_restarted(
    start: Start, visit: Visit, publisher: Publisher, postgres: Postgres
) -> None:
    servers = [start(), start()]
    clients = [visit(server) for server in servers]
    for number in range(5):
        say_one_and_hear(publisher, clients, f"before {number}")
        drop_connections(postgres)
        assert publisher.send(f"sent {number}").isdigit()
        clients[0].say(body=f"said {number}")
        for client in clients:
            assert f"sent {number}" in client.hear_until(f"said {number}")
    assert [told(process) for process in (*servers, publisher)] == [[]] * 3
    postgres.kill()
    assert publisher.send("lost") == "LogUnavailable"
    clients[0].say(body="lost, too", ref="00000000-0000-4000-8000-000000000001")
    refused = clients[0].hear()
    assert (refused["type"], refused["code"]) == ("error", "unavailable")
    wait_until(lambda: all(told(process) == LOG[:1] for process in (*servers, publisher)))
    postgres.start()
    say_one_and_hear(publisher, clients, "after")
    clients[0].say(body="and on")
    for client in clients:
        client.hear_until("and on")
    wait_until(lambda: [told(process) for process in (*servers, publisher)] == [LOG] * 3)


def test_postgresql_takes_no_writes_for_a_while(
    start: Start, visit: Visit, publisher: Publisher, postgres: Postgres
) -> None:
    """As after a failover to a standby: who reads finds all well, and must not say so."""
    server = start(DJANGO_SETTINGS_MODULE="tests.live.host_settings", BROADCAST='{"POLL_INTERVAL": 0.1}')
    client = visit(server)
    say_one_and_hear(publisher, [client], "before")
    read_only(postgres, "on")
    for _ in range(6):
        assert publisher.send("lost") == "LogUnavailable"
        client.say(body="lost, too")
        assert client.hear()["code"] == "unavailable"
        time.sleep(0.15)  # a look into the log comes between two of them
    assert told(server) == told(publisher) == LOG[:1]
    read_only(postgres, "off")
    wait_until(lambda: told(server) == LOG)  # by itself, with nothing sent
    say_one_and_hear(publisher, [client], "after")
    assert told(server) == told(publisher) == LOG


def read_only(postgres: Postgres, value: str) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE site SET default_transaction_read_only = {value}")
    drop_connections(postgres)


def drop_connections(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = 'site' AND backend_type = 'client backend'"
        )


def test_connections_are_lost_during_commit(
    start: Start, visit: Visit, publisher: Publisher, fleet_env: dict[str, str]
) -> None:
    """A deferred trigger ends the session that commits, every third time."""
    server = start()
    client = visit(server)
    with psycopg.connect(fleet_env["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE commits")
        connection.execute(
            """
            CREATE FUNCTION lose_commit() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('commits') % 3 = 0 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
                RETURN NULL;
            END $$
            """
        )
        connection.execute(
            "CREATE CONSTRAINT TRIGGER lose_commit AFTER INSERT ON broadcast_message "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION lose_commit()"
        )
    bodies = [f"{who} {number}" for number in range(6) for who in ("sent", "said")]
    for body in bodies:
        if body.startswith("sent"):
            assert publisher.send(body).isdigit()
        else:
            client.say(body=body)
        assert client.hear_until(body) == [body]
    assert told(server) == told(publisher) == []


def test_somebody_holds_the_groups_row_for_a_while(
    start: Start, visit: Visit, publisher: Publisher, fleet_env: dict[str, str]
) -> None:
    server = start()
    client = visit(server)
    say_one_and_hear(publisher, [client], "before")
    with psycopg.connect(fleet_env["DATABASE_URL"]) as holder:
        holder.execute("UPDATE broadcast_group SET head = head")
        client.say(body="waits")
        wait_until(lambda: waiting_for_a_lock(fleet_env["DATABASE_URL"]))
        newcomer = visit(server)  # reading waits for nobody
        assert newcomer.offset == client.offset
        holder.rollback()
        assert client.hear_until("waits") == newcomer.hear_until("waits") == ["waits"]
        holder.execute("UPDATE broadcast_group SET head = head")
        client.say(body="waits for too long")
        assert client.hear()["code"] == "unavailable"
        holder.rollback()
    say_one_and_hear(publisher, [client, newcomer], "after")
    assert told(server) == []


def waiting_for_a_lock(database: str) -> bool:
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return bool(row and row[0])


def test_an_older_backup_is_restored(
    start: Start, visit: Visit, publisher: Publisher, fleet_env: dict[str, str], postgres: Postgres
) -> None:
    """Offsets are given again, so everybody is told to begin anew, also who was away meanwhile."""
    servers = [start(), start()]
    clients = [visit(server) for server in servers]
    for number in range(2):
        say_one_and_hear(publisher, clients, f"kept {number}")
    backup = subprocess.run(
        [postgres_program("pg_dump"), fleet_env["DATABASE_URL"]], check=True, capture_output=True, timeout=WAIT
    ).stdout
    for number in range(3):
        say_one_and_hear(publisher, clients, f"lost {number}")
    away = clients[0].position
    old = clients[0].epoch
    restore(postgres, backup)
    for client in clients:
        told_anew = client.hear()
        assert (told_anew["type"], told_anew["offset"]) == ("reset", 2)
        assert told_anew["epoch"] != old
    returned = visit(servers[1], away)
    assert (returned.welcome["recovered"], returned.offset) == (False, 2)
    assert len({client.epoch for client in (*clients, returned)}) == 1
    say_one_and_hear(publisher, [*clients, returned], "after")
    assert clients[0].offset == 3
    assert all(told(process) in ([], LOG) for process in (*servers, publisher))


def restore(postgres: Postgres, backup: bytes) -> None:
    """Puts what was saved in the place of the fleet's database."""
    restored = new_database(postgres, "restored", empty=True)
    command = [postgres_program("psql"), "--quiet", "--set", "ON_ERROR_STOP=1", restored]
    subprocess.run(command, input=backup, check=True, capture_output=True, timeout=WAIT)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("ALTER DATABASE site ALLOW_CONNECTIONS false")
        drop_connections(postgres)
        connection.execute("DROP DATABASE IF EXISTS lost WITH (FORCE)")
        connection.execute("ALTER DATABASE site RENAME TO lost")
        connection.execute("ALTER DATABASE restored RENAME TO site")
