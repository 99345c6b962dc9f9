"""What the tests ask of a server: slow and endless answers, long and many messages, a socket of another app."""

import asyncio
import time
from collections.abc import AsyncIterator

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import include, path, re_path

from broadcast import asend, asend_many, send

django_application = get_asgi_application()


async def slow(request: HttpRequest) -> HttpResponse:
    """An answer that is ready after a while; that it was asked for is broadcast."""
    await asend("asked")
    await asyncio.sleep(float(request.GET["seconds"]))
    return HttpResponse("done")


def stuck(request: HttpRequest) -> HttpResponse:
    """An answer that a thread works at for a while; that it was asked for is broadcast."""
    send("asked")
    time.sleep(float(request.GET["seconds"]))
    return HttpResponse("done")


async def large(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"x" * int(request.GET["bytes"]))


async def endless(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"more"
            await asyncio.sleep(0.05)

    return StreamingHttpResponse(parts())


async def many(request: HttpRequest) -> HttpResponse:
    """Sends many messages, in transactions of a hundred."""
    count, size = int(request.GET["count"]), int(request.GET.get("bytes", 10))
    for start in range(0, count, 100):
        bodies = [{"body": "m", "data": {"x": "x" * size}} for _ in range(min(100, count - start))]
        await asend_many(bodies, persist=request.GET.get("persist") != "no")
    return HttpResponse(str(count))


async def another_app(scope, receive, send) -> None:
    """A WebSocket that knows nothing of this app and never ends by itself."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": '{"type": "welcome"}'})
    await asyncio.Event().wait()


async def another_that_never_answers(scope, receive, send) -> None:
    await asyncio.Event().wait()


urlpatterns = [
    path("slow", slow),
    path("stuck", stuck),
    path("large", large),
    path("endless", endless),
    path("many", many),
    path("", include("project.urls")),
]


def application_with_sockets():
    from broadcast.asgi import with_broadcast
    from broadcast.routing import websocket_urlpatterns

    others = [re_path(r"^other$", another_app), re_path(r"^never$", another_that_never_answers)]
    routes = URLRouter([*websocket_urlpatterns, *others])
    return ProtocolTypeRouter({"http": with_broadcast(django_application), "websocket": AuthMiddlewareStack(routes)})


application = application_with_sockets()
