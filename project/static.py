"""Static files for a server that serves nothing by itself."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile

Response = HttpResponseBase | Awaitable[HttpResponseBase]


class StaticFilesMiddleware(WhiteNoiseMiddleware):
    """WhiteNoise under ASGI: files are read off the event loop, and other requests pass without taking a thread."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Response]) -> None:
        super().__init__(get_response)
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Response:
        return self.respond(request) if iscoroutinefunction(self) else super().__call__(request)

    async def respond(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(self.static_prefix):
            return await self.get_response(request)
        response = await sync_to_async(self.find_response, thread_sensitive=False)(request)
        if response is None:
            return await self.get_response(request)
        response.streaming_content = in_one_read(response.streaming_content)
        return response

    def find_response(self, request: HttpRequest) -> HttpResponseBase | None:
        static_file: StaticFile | None = (
            self.find_file(request.path_info) if self.autorefresh else self.files.get(request.path_info)
        )
        return static_file and self.serve(static_file, request)


async def in_one_read(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in await sync_to_async(list, thread_sensitive=False)(chunks):
        yield chunk
