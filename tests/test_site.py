"""The host site: what its environment changes, and what one daphne serves by itself."""

import re
import runpy
import sqlite3
from collections.abc import Callable
from contextlib import closing
from email.message import Message
from http.client import HTTPConnection
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.site import ROOT, SITE_VARIABLES, Daphne

OPEN = {"broadcast": {"subscribe": "anyone", "publish": "anyone", "announce": "anyone"}}
CLOSED = {"DEBUG": "off", "SECRET_KEY": "a-secret-of-the-tests", "ALLOWED_HOSTS": "127.0.0.1"}
STYLE = "/static/admin/css/base.css"


@pytest.fixture
def settings_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Loads the host site's settings as a process with exactly these variables would."""

    def load(**env: str) -> dict[str, Any]:
        for name in SITE_VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(ROOT / "project" / "settings.py"))

    return load


def get(server: Daphne, path: str, method: str = "GET", **headers: str) -> tuple[int, Message, bytes]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.headers, body


def test_without_environment_the_site_is_an_open_demo_on_this_machine(settings_with):
    settings = settings_with()
    assert settings["DEBUG"] is True
    assert settings["ALLOWED_HOSTS"] == []
    assert settings["BROADCAST"]["GROUPS"] == OPEN
    assert settings["DATABASES"]["default"]["NAME"] == ROOT / "db.sqlite3"
    assert settings["CHANNEL_LAYERS"]["default"]["BACKEND"] == "channels.layers.InMemoryChannelLayer"
    assert settings_with(OPEN_DEMO="off")["BROADCAST"] == {}
    assert settings_with(OPEN_DEMO="off", PROXIES="0")["BROADCAST"] == {"LIMITS": {"PROXIES": 0}}


def test_with_debug_off_the_safe_defaults_of_the_app_hold_unless_the_demo_is_opened(settings_with):
    settings = settings_with(**CLOSED)
    assert (settings["BROADCAST"], settings["ALLOWED_HOSTS"]) == ({}, ["127.0.0.1"])
    assert settings_with(**CLOSED, OPEN_DEMO="on")["BROADCAST"]["GROUPS"] == OPEN


def test_with_debug_off_the_site_does_not_start_without_a_secret_key(site):
    site.env["DEBUG"] = "off"
    done = site.manage("check", check=False)
    assert done.returncode != 0
    assert "ImproperlyConfigured: SECRET_KEY is not set." in done.stderr


PUBSUB, CORE = "channels_redis.pubsub.RedisPubSubChannelLayer", "channels_redis.core.RedisChannelLayer"


@pytest.mark.parametrize(("chosen", "backend"), [({}, PUBSUB), ({"REDIS_LAYER": "core"}, CORE)])
@pytest.mark.parametrize(
    "url", ["rediss://redis.example:6380/1", "redis://:se%2Cc%40ret@127.0.0.1:6379/0", "unix:///run/redis.sock?db=2"]
)
def test_redis_carries_the_hints_when_it_is_named(settings_with, url, chosen, backend):
    for hosts in ([url], [url, "redis://other:6379/0"]):
        layers = settings_with(REDIS_URL=",".join(hosts), **chosen)["CHANNEL_LAYERS"]
        assert layers == {"default": {"BACKEND": backend, "CONFIG": {"hosts": hosts}}}


def test_sentinels_say_where_redis_is(settings_with):
    def hosts(*urls: str) -> Any:
        settings = settings_with(REDIS_URL=",".join(urls), REDIS_SENTINEL="site")
        return settings["CHANNEL_LAYERS"]["default"]["CONFIG"]["hosts"]

    one = {"master_name": "site", "sentinels": [("one", 26379)], "db": 0}
    assert hosts("redis://one") == [one]
    two = {"master_name": "site", "sentinels": [("one", 1), ("two", 3)], "db": 2}
    account = {"username": "ann", "password": "s@cret", "ssl": True}
    assert hosts("rediss://ann:s%40cret@one:1/2", "rediss://two:3") == [{**two, **account}]


def test_an_unknown_redis_layer_is_refused(settings_with):
    with pytest.raises(ImproperlyConfigured, match="'pubsub', 'core'"):
        settings_with(REDIS_URL="redis://127.0.0.1:6390/1", REDIS_LAYER="disk")


def test_another_database_gets_nothing_that_is_meant_for_sqlite(settings_with):
    database = settings_with(DATABASE_URL="postgres://ann:secret@127.0.0.1:5433/chat")["DATABASES"]["default"]
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert (database["USER"], database["PORT"], database["NAME"]) == ("ann", 5433, "chat")
    assert "init_command" not in database.get("OPTIONS", {})


def test_sqlite_is_in_wal_mode(database):
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_readme_lists_the_variables_that_the_settings_read(settings_with):
    listed = re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    read = re.findall(r'env(?:\.\w+)?\(\s*"([A-Z_]+)"', (ROOT / "project" / "settings.py").read_text())
    assert sorted(listed) == sorted(set(read))
    assert {*listed, "DJANGO_SETTINGS_MODULE"} == SITE_VARIABLES


@pytest.mark.parametrize("env", [{}, CLOSED], ids=["debug", "no debug"])
def test_daphne_alone_serves_pages_admin_and_static_files(daphne, env):
    server = daphne(**env)
    assert get(server, "/")[0] == 200
    assert get(server, "/broadcast/")[0] == 200
    assert get(server, "/admin/login/")[0] == 200

    status, headers, body = get(server, STYLE)
    assert (status, headers.get_content_type(), len(body)) == (200, "text/css", int(headers["Content-Length"]))
    assert get(server, STYLE, "HEAD")[::2] == (200, b"")
    assert get(server, STYLE, **{"If-None-Match": headers["ETag"]})[::2] == (304, b"")
    assert get(server, STYLE, Range="bytes=5-9")[::2] == (206, body[5:10])
    assert get(server, STYLE, "POST")[0] == 405
    assert get(server, "/static/../manage.py")[0] == 404
    assert get(server, "/static/none.css")[0] == 404
    assert server.log.count("Not Found: /static/none.css") == 1
    assert server.log.count("Listening on TCP address") == 1
    assert "Traceback" not in server.log
    assert "Warning" not in server.log


def test_static_files_are_served_to_the_test_client_too(client):
    response = client.get(STYLE)
    assert response.status_code == 200
    assert b"".join(response).startswith(b"/*")


async def test_static_files_are_served_to_the_async_test_client_too(async_client):
    response = await async_client.get(STYLE)
    assert (response.status_code, response.is_async) == (200, True)
    assert b"".join([chunk async for chunk in response]).startswith(b"/*")
