"""The one line that a site without WebSockets adds to its ``asgi.py``."""

from __future__ import annotations

from typing import Any


def with_broadcast(django_application: Any) -> Any:
    """An ASGI application that serves ``django_application`` and, beside it, the app's WebSockets.

    Connections have the site's sessions and users. Addresses other than the app's are refused, and
    so is everyone while the database with the sessions cannot be read: clients try again. Before
    ``migrate`` there are no sessions, and everyone is a guest.

        application = with_broadcast(get_asgi_application())
    """
    # Here and not above: these need the apps, which get_asgi_application() has just loaded.
    from channels.routing import ProtocolTypeRouter, URLRouter
    from channels.sessions import SessionMiddlewareStack
    from django.urls import re_path

    from .middleware import UserMiddleware, refuse
    from .routing import websocket_urlpatterns

    elsewhere: Any = refuse
    routes = URLRouter([*websocket_urlpatterns, re_path(r"", elsewhere)])
    websocket = under_script_name(SessionMiddlewareStack(UserMiddleware(routes)), refuse)
    return ProtocolTypeRouter({"http": finished_before_the_end(django_application), "websocket": websocket})


def finished_before_the_end(application: Any) -> Any:
    """Has requests under way finished when their daphne is told to end, also where there was no WebSocket yet."""
    from .engine.process import current_process
    from .engine.transports.connect import note_claims
    from .engine.transports.daphne.behind import daphne_behind
    from .engine.transports.daphne.drain import drain_for

    def watched(scope: Any, receive: Any, send: Any) -> Any:
        if daphne := daphne_behind(send):
            drain_for(current_process(), daphne.server)
            note_claims(current_process(), daphne.server)
        return application(scope, receive, send)

    return watched


def under_script_name(application: Any, elsewhere: Any) -> Any:
    """Mounts the WebSockets where the site's pages are: below ``root_path``, or below ``FORCE_SCRIPT_NAME``."""
    from django.conf import settings

    # No coroutine of its own, and no copy for nothing: each connection would keep them.
    def mounted(scope: Any, receive: Any, send: Any) -> Any:
        root = (settings.FORCE_SCRIPT_NAME or scope.get("root_path", "")).rstrip("/")
        if root and not scope["path"].startswith(root + "/"):
            return elsewhere(scope, receive, send)
        if root != scope.get("root_path", ""):
            scope = {**scope, "root_path": root}
        return application(scope, receive, send)

    return mounted
