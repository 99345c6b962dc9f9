"""The one line that a site without WebSockets adds to its ``asgi.py``."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any

logger = logging.getLogger("broadcast")


def with_broadcast(django_application: Any) -> Any:
    """An ASGI application that serves ``django_application`` and, beside it, the app's WebSockets.

    Connections have the site's sessions and users. Addresses other than the app's are refused, and
    so is everyone while the database with the sessions cannot be read: clients try again. Before
    ``migrate`` there are no sessions, and everyone is a guest.

        application = with_broadcast(get_asgi_application())
    """
    # Here and not above: these need the apps, which get_asgi_application() has just loaded.
    from channels.auth import AuthMiddlewareStack
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.urls import re_path

    from .routing import websocket_urlpatterns

    elsewhere: Any = refuse
    routes = URLRouter([*websocket_urlpatterns, re_path(r"", elsewhere)])
    websocket = under_script_name(as_guest_without_sessions(AuthMiddlewareStack(routes), routes))
    return ProtocolTypeRouter({"http": finished_before_the_end(django_application), "websocket": websocket})


def finished_before_the_end(application: Any) -> Any:
    """Has requests under way finished when their daphne is told to end, also where there was no WebSocket yet."""
    from .engine.sockets.drain import drain_for

    def watched(scope: Any, receive: Any, send: Any) -> Any:
        drain_for(send)
        return application(scope, receive, send)

    return watched


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.close"})


def under_script_name(application: Any) -> Any:
    """Mounts the WebSockets where the site's pages are: below ``root_path``, or below ``FORCE_SCRIPT_NAME``."""
    from django.conf import settings

    # No coroutine of its own, and no copy for nothing: each connection would keep them.
    def mounted(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        root = (settings.FORCE_SCRIPT_NAME or scope.get("root_path", "")).rstrip("/")
        if root and not scope["path"].startswith(root + "/"):
            return refuse(scope, receive, send)
        if root != scope.get("root_path", ""):
            scope = {**scope, "root_path": root}
        awaitable: Awaitable[None] = application(scope, receive, send)
        return awaitable

    return mounted


def as_guest_without_sessions(application: Any, for_guests: Any) -> Any:
    """Runs ``application``; what cannot read a session is refused, or served as a guest where there are none."""
    from django.db import DatabaseError, InterfaceError, connections

    from .engine.storage.database import alias, lacks_tables
    from .engine.storage.threads import database_threads

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        noting = NotingSend(send)
        try:
            await application(scope, receive, noting.send)
            return
        except (DatabaseError, InterfaceError) as error:
            if noting.has_sent:
                raise
            failure = error
        threads = await database_threads()
        has_no_tables = await threads.read(lambda: lacks_tables(connections[alias()]))
        threads.close()
        if has_no_tables:
            await for_guests(scope, receive, send)
        else:
            logger.error("Refused a WebSocket, for its session could not be read: %s", failure)
            await refuse(scope, receive, send)

    return guarded


class NotingSend:
    """A ``send`` that knows whether it was used; it keeps the one below as Channels' own wrappers do."""

    __slots__ = ("has_sent", "real_send")

    def __init__(self, real_send: Any) -> None:
        self.real_send = real_send
        self.has_sent = False

    async def send(self, message: Any) -> None:
        self.has_sent = True
        await self.real_send(message)
