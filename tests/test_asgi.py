"""The line in ``asgi.py``, and the routes for those who have WebSockets of their own."""

import importlib
from typing import Any
from unittest.mock import Mock

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.db import InterfaceError, OperationalError
from django.urls import re_path

from broadcast import routing
from broadcast.access import arrivals
from broadcast.access.arrivals import Arrivals
from broadcast.asgi import with_broadcast
from tests.tabs import WAIT, Browser

pages = get_asgi_application()
application = with_broadcast(pages)


def browser(application: Any, path: str, session: str = "") -> Browser:
    return Browser(application, path, [(b"cookie", f"sessionid={session}".encode())] if session else [])


async def is_greeted(application: Any, path: str, session: str = "") -> bool:
    """True if a client is let in, and its first frame greets it."""
    visitor = browser(application, path, session)
    welcome = await visitor.connect()
    await visitor.leave()
    return bool(welcome == {"author": "Server", "body": "Welcome!"})


async def is_refused(application: Any, path: str, session: str = "") -> bool:
    """True if a client is turned away before it was let in, and the application ends."""
    line = browser(application, path, session).line
    accepted, _ = await line.connect(WAIT)
    await line.wait(WAIT)
    return not accepted


@pytest.mark.parametrize("error", [OperationalError("the database is away"), InterfaceError("the database is away")])
async def test_while_sessions_cannot_be_read_clients_are_sent_away(transactional_db, monkeypatch, caplog, error):
    with monkeypatch.context() as patch:
        patch.setattr(arrivals, "load_from_tables", Mock(side_effect=error))
        assert await is_refused(application, "/ws", "a" * 32)
    [record] = caplog.records
    assert (record.levelname, record.exc_info) == ("ERROR", None)
    assert record.getMessage() == "Refused a WebSocket, for its session could not be read: the database is away"
    assert await is_greeted(application, "/ws")


async def test_who_brings_no_session_is_a_guest_without_a_look_into_it_and_without_a_thread(monkeypatch):
    monkeypatch.setattr(Arrivals, "user_of", Mock(side_effect=AssertionError))
    assert await is_greeted(application, "/ws")


async def test_before_migrate_whoever_has_an_old_cookie_is_a_guest(transactional_db, monkeypatch):
    missing = Mock(side_effect=OperationalError("no such table: django_session"))
    monkeypatch.setattr(arrivals, "load_from_tables", missing)
    monkeypatch.setattr(arrivals, "lacks_tables", lambda connection: True)
    assert await is_greeted(with_broadcast(None), "/ws", "a" * 32)


async def test_below_a_script_name_the_sockets_are_there_too(settings):
    settings.FORCE_SCRIPT_NAME = "/app"
    assert await is_greeted(application, "/app/ws")
    assert await is_refused(application, "/ws")


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """A WebSocket that a site had before."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": '"echo"'})


async def test_a_site_with_websockets_of_its_own_adds_the_routes(transactional_db):
    routes = [re_path(r"^ws/echo/$", echo), *routing.websocket_urlpatterns]
    own = ProtocolTypeRouter({"http": pages, "websocket": AuthMiddlewareStack(URLRouter(routes))})
    assert await browser(own, "/ws/echo/").connect() == "echo"
    for path in ("/ws", "/ws/"):
        assert await is_greeted(own, path)


@pytest.mark.parametrize(
    ("setting", "path"),
    [("/live/ws", "/live/ws"), ("/live/ws/", "/live/ws"), ("/a.b", "/a.b"), ("/live", "/live/broadcast")],
)
async def test_the_socket_is_where_the_settings_say(settings, setting, path):
    settings.BROADCAST = {**settings.BROADCAST, "SOCKET_PATH": setting}
    try:
        importlib.reload(routing)
        moved = with_broadcast(pages)
        for address in (path, path + "/"):
            assert await is_greeted(moved, address)
        for address in ("/ws", "/aXb"):
            assert await is_refused(moved, address)
    finally:
        settings.BROADCAST = {}
        importlib.reload(routing)


async def test_a_server_that_asks_for_a_lifespan_is_told_that_there_is_none():
    """Servers take the error as "not supported" and go on."""
    line = ApplicationCommunicator(application, {"type": "lifespan"})
    await line.send_input({"type": "lifespan.startup"})
    with pytest.raises(ValueError, match="lifespan"):
        await line.wait(WAIT)
