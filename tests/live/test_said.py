"""While database, Redis and disk fail in turn, strangers are told nothing of the site's inside, and no error 500."""

import json
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import psycopg
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.kit.clients import WAIT
from tests.kit.forbidden import forbidden_in
from tests.services import Postgres, Redis
from tests.site import Daphne

CLOSED = {"DEBUG": "0", "SECRET_KEY": "x" * 60, "ALLOWED_HOSTS": "127.0.0.1"}
COOKIES = [{}, {"Cookie": "sessionid=" + "a" * 32}]
JSON = {"Accept": "application/json"}
HTML = {"Accept": "text/html,*/*;q=0.8"}
REQUESTS = [
    *(("GET", path, b"", accept) for path in ("/", "/broadcast/hello") for accept in (JSON, HTML, {})),
    *(("GET", f"/broadcast/?format=json{more}", b"", {}) for more in ("", "&after=1&epoch=e", "&group=staff")),
    ("POST", "/broadcast/", b"body=hi", {"Content-Type": "application/x-www-form-urlencoded"} | HTML),
    ("POST", "/broadcast/", b'{"body": "hi", "announce": true}', {"Content-Type": "application/json"}),
    ("POST", "/broadcast/hello", b"", {}),
]
FRAMES = [{"body": "hi"}, *({"type": "subscribe", "group": group} for group in ("news", "staff")), {"type": "ping"}]


def asked(server: Daphne, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    """The status of an answer, and all that it says."""
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=WAIT)) as connection:
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        return answer.status, f"{answer.headers}{answer.read().decode()}"


def told(server: Daphne, headers: dict[str, str]) -> str:
    """All that a client hears that sends frames, up to the pong."""
    heard, patience = [], {"open_timeout": WAIT, "ping_interval": None}
    try:
        with connect(f"{server.ws_url}?v=1", additional_headers=headers, **patience) as socket:
            with suppress(ConnectionClosed):
                for frame in FRAMES:
                    socket.send(json.dumps(frame))
            while '"pong"' not in str(heard[-1:]):
                heard.append(socket.recv(WAIT))
    except ConnectionClosed as error:
        heard.append(f"{error.rcvd and error.rcvd.code} {error.rcvd and error.rcvd.reason}")
    except InvalidStatus as refused:
        heard.append(f"HTTP {refused.response.status_code} {refused.response.headers}{refused.response.body!r}")
    return "\n".join(map(str, heard))


def failed_while(server: Daphne, *inside: str) -> int:
    """Visits as strangers do and holds every answer to what may be said; the number of those that say it fails."""
    failures = 0
    for cookies in COOKIES:
        for method, path, body, headers in REQUESTS:
            status, answer = asked(server, method, path, body, headers | cookies)
            assert status in (200, 201, 302, 400, 403, 503), answer
            assert forbidden_in(answer, *inside) == [], answer
            failures += status == 503
        heard = told(server, cookies)
        assert forbidden_in(heard, *inside) == [], heard
        assert "HTTP 500" not in heard
        failures += "unavailable" in heard
    return failures


Fault = Callable[[], object]


@pytest.fixture
def closed() -> dict[str, str]:
    return CLOSED | {"OPEN_DEMO": "0"}


def test_while_postgresql_and_redis_fail(
    closed: dict[str, str], fleet_env: dict[str, str], daphne: Callable[..., Daphne], postgres: Postgres, redis: Redis
) -> None:
    inside = ["shop_admin", "shop_data", str(postgres.port), str(redis.port)]

    def sql(*statements: str, name: str = "shop_data") -> None:
        with psycopg.connect(postgres.database_url(name), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    sql("DROP DATABASE IF EXISTS shop_data WITH (FORCE)", "ALTER DATABASE site RENAME TO shop_data", name="postgres")
    sql(
        "DO $$ BEGIN CREATE ROLE shop_admin; EXCEPTION WHEN duplicate_object THEN END $$",
        *("ALTER ROLE shop_admin LOGIN", "GRANT ALL ON ALL TABLES IN SCHEMA public TO shop_admin"),
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO shop_admin",
    )
    url = postgres.database_url("shop_data").replace("postgres@", "shop_admin@")
    server = daphne(**closed, REDIS_URL=redis.url, DATABASE_URL=url)
    assert failed_while(server, *inside) == 0
    gone = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'shop_admin'"
    faults: list[Fault] = [
        lambda: sql("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM shop_admin"),
        lambda: sql("ALTER ROLE shop_admin NOLOGIN", gone),
        postgres.kill,
    ]
    redis.kill()
    assert failed_while(server, *inside) == 0
    for fault in faults:
        fault()
        assert failed_while(server, *inside)


def test_while_the_disk_fails(closed: dict[str, str], daphne: Callable[..., Daphne], database: Path) -> None:
    server = daphne(**closed)
    inside = [database.name, str(database.parent)]
    assert failed_while(server, *inside) == 0
    with full_disk(server):
        assert failed_while(server, *inside) >= int(closed["OPEN_DEMO"])  # who may not write meets no disk
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("ALTER TABLE broadcast_group RENAME COLUMN epoch TO secret")
    assert failed_while(server, *inside)
    database.write_bytes(b"x" * database.stat().st_size)
    assert failed_while(server, *inside)


@contextmanager
def full_disk(server: Daphne) -> Iterator[None]:
    """No file of the server's may grow."""
    before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    yield
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
