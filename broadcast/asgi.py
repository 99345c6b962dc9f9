"""The one line that a site without WebSockets adds to its ``asgi.py``."""

from __future__ import annotations

import logging
from typing import Any

logger = logging.getLogger("broadcast")


def with_broadcast(django_application: Any) -> Any:
    """An ASGI application that serves ``django_application`` and, beside it, the app's WebSockets.

    Connections have the site's sessions and users. Addresses other than the app's are refused, and
    so is everyone while the database with the sessions cannot be read: clients try again.

        application = with_broadcast(get_asgi_application())
    """
    # Here and not above: these need the apps, which get_asgi_application() has just loaded.
    from channels.auth import AuthMiddlewareStack
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.urls import re_path

    from .routing import websocket_urlpatterns

    elsewhere: Any = refuse
    routes = URLRouter([*websocket_urlpatterns, re_path(r"", elsewhere)])
    websocket = refuse_without_sessions(AuthMiddlewareStack(routes))
    return ProtocolTypeRouter({"http": django_application, "websocket": websocket})


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.close"})


def refuse_without_sessions(application: Any) -> Any:
    from django.db import DatabaseError, InterfaceError

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        noting = NotingSend(send)
        try:
            await application(scope, receive, noting.send)
        except (DatabaseError, InterfaceError) as error:
            if noting.has_sent:
                raise
            logger.error("Refused a WebSocket, for its session could not be read: %s", error)
            await refuse(scope, receive, send)

    return guarded


class NotingSend:
    """A ``send`` that knows whether it was used; it keeps the one below as Channels' own wrappers do."""

    def __init__(self, real_send: Any) -> None:
        self.real_send = real_send
        self.has_sent = False

    async def send(self, message: Any) -> None:
        self.has_sent = True
        await self.real_send(message)
