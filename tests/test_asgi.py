"""The line in ``asgi.py``, and the routes for those who have WebSockets of their own."""

import importlib
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.testing import HttpCommunicator, WebsocketCommunicator
from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.core.asgi import get_asgi_application
from django.db import InterfaceError, OperationalError
from django.urls import re_path

from broadcast import routing
from broadcast.asgi import with_broadcast
from broadcast.engine.storage import database

WELCOME = '{"author":"Server","body":"Welcome!"}'
WAIT = 10  # seconds, for a machine that is busy

pages = get_asgi_application()
application = with_broadcast(pages)


async def greeting(application: Any, path: str, **cookies: str) -> str:
    """The first frame that a client gets."""
    line = WebsocketCommunicator(application, path, headers=cookie_headers(cookies))
    accepted, _ = await line.connect(WAIT)
    assert accepted
    text = await line.receive_from(WAIT)
    await line.disconnect()
    return text


async def is_refused(application: Any, path: str, **cookies: str) -> bool:
    """Whether a client is turned away before it was let in, and the application ends."""
    line = WebsocketCommunicator(application, path, headers=cookie_headers(cookies))
    accepted, _ = await line.connect(WAIT)
    await line.wait(WAIT)
    return not accepted


def cookie_headers(cookies: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(b"cookie", "; ".join(f"{name}={value}" for name, value in cookies.items()).encode())]


async def test_one_line_serves_pages_and_websockets(transactional_db):
    assert await greeting(application, "/ws") == WELCOME
    page = HttpCommunicator(application, "GET", "/admin/login/", headers=[(b"host", b"testserver")])
    assert (await page.get_response(WAIT))["status"] == 200
    await page.wait(WAIT)


async def test_other_addresses_are_refused(caplog):
    for path in ("/", "/elsewhere", "/ws/a/b"):
        assert await is_refused(application, path)
    assert caplog.records == []


async def test_connections_have_the_sites_users(transactional_db):
    ann = await User.objects.acreate_user("ann")
    session = SessionStore()
    session[SESSION_KEY] = str(ann.pk)
    session[BACKEND_SESSION_KEY] = django_settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = ann.get_session_auth_hash()
    await session.acreate()
    assert '"user":"ann"' in await greeting(application, "/ws?v=1", sessionid=session.session_key)
    assert '"user":null' in await greeting(application, "/ws?v=1", sessionid="nonsense")


@pytest.mark.parametrize("error", [OperationalError("the database is away"), InterfaceError("the database is away")])
async def test_while_sessions_cannot_be_read_clients_are_sent_away_without_a_traceback(
    transactional_db, monkeypatch, caplog, error
):
    def load(self: SessionStore) -> None:
        raise error

    monkeypatch.setattr(SessionStore, "load", load)
    assert await is_refused(application, "/ws", sessionid="a" * 32)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "Refused a WebSocket, for its session could not be read: the database is away")
    ]
    assert caplog.records[0].exc_info is None
    assert await greeting(application, "/ws") == WELCOME


async def test_before_migrate_whoever_has_an_old_cookie_is_a_guest(transactional_db, monkeypatch):
    def load(self: SessionStore) -> None:
        raise OperationalError("no such table: django_session")

    monkeypatch.setattr(SessionStore, "load", load)
    monkeypatch.setattr(database, "lacks_tables", lambda connection: True)
    assert await greeting(with_broadcast(None), "/ws", sessionid="a" * 32) == WELCOME


async def test_below_a_script_name_the_sockets_are_there_too(settings):
    settings.FORCE_SCRIPT_NAME = "/app"
    assert await greeting(application, "/app/ws") == WELCOME
    assert await is_refused(application, "/ws")


class Echo(AsyncWebsocketConsumer):
    """A consumer that a site had before."""

    async def connect(self) -> None:
        await self.accept()
        await self.send("echo")


async def test_a_site_with_websockets_of_its_own_adds_the_routes(transactional_db):
    own = ProtocolTypeRouter(
        {
            "http": pages,
            "websocket": AuthMiddlewareStack(
                URLRouter([re_path(r"^ws/echo/$", Echo.as_asgi()), *routing.websocket_urlpatterns])
            ),
        }
    )
    assert await greeting(own, "/ws/echo/") == "echo"
    assert await greeting(own, "/ws") == WELCOME
    assert await greeting(own, "/ws/") == WELCOME


@pytest.mark.parametrize(
    ("setting", "path"),
    [("/live/ws", "/live/ws"), ("/live/ws/", "/live/ws"), ("/a.b", "/a.b"), ("/live", "/live/broadcast")],
)
async def test_the_socket_is_where_the_settings_say(settings, setting, path):
    settings.BROADCAST = {**settings.BROADCAST, "SOCKET_PATH": setting}
    try:
        importlib.reload(routing)
        moved = with_broadcast(pages)
        assert await greeting(moved, path) == WELCOME
        assert await greeting(moved, path + "/") == WELCOME
        assert await is_refused(moved, "/ws")
        assert await is_refused(moved, "/aXb")
    finally:
        settings.BROADCAST = {}
        importlib.reload(routing)


async def test_a_server_that_asks_for_a_lifespan_is_told_that_there_is_none():
    """Servers take the error as "not supported" and go on."""
    line = ApplicationCommunicator(application, {"type": "lifespan"})
    await line.send_input({"type": "lifespan.startup"})
    with pytest.raises(ValueError, match="lifespan"):
        await line.wait(WAIT)
