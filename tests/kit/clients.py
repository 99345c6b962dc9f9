"""Visitors of real servers: by WebSocket, one that reads all the time and one that is told to, and by HTTP."""

import json
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from http.cookiejar import CookieJar
from typing import Any, Self
from urllib.parse import quote, urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener, urlopen

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect
from websockets.uri import parse_uri

from tests.kit.sockets import masked
from tests.site import Daphne

WAIT = 60  # seconds, for a machine that is busy
WELCOME = {"author": "Server", "body": "Welcome!"}


def fetch(server: Daphne | str, path: str, **query: str) -> str:
    with urlopen(f"{getattr(server, 'url', server)}{path}?{urlencode(query)}", timeout=WAIT) as answer:
        text: str = answer.read().decode()
    return text


def push(server: Daphne | str, body: str) -> str:
    """Announces, as curl would, and returns the body."""
    assert fetch(server, f"/broadcast/{quote(body)}") == f"Broadcasting {body}"
    return body


class Browser:
    """Signs in on one server, whose cookies are good for all of a site."""

    def __init__(self, server: Daphne, name: str, password: str = "secret") -> None:
        self.server = server
        self.jar = CookieJar()
        self.opener = build_opener(HTTPCookieProcessor(self.jar))
        self.opener.open(server.url + "/admin/login/", timeout=WAIT).close()
        self.post("/admin/login/?next=/", username=name, password=password)
        assert "sessionid" in self.cookies

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.name: str(cookie.value) for cookie in self.jar}

    @property
    def header(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}

    def post(self, path: str, **fields: str) -> str:
        """Posts a form with its token, and returns the answer's text."""
        data = urlencode({**fields, "csrfmiddlewaretoken": self.cookies["csrftoken"]}).encode()
        request = Request(self.server.url + path, data, {"Referer": self.server.url + path})
        with self.opener.open(request, timeout=WAIT) as response:
            return str(response.read().decode())


class Visitor(ABC):
    """A WebSocket, which holds the server to offsets without a gap in each group."""

    def __init__(self) -> None:
        self.welcome: Any = None
        self.epoch = ""
        self.offsets: dict[str, int | None] = {}

    @abstractmethod
    def text(self) -> str | bytes:
        """The next text of the server's."""

    @abstractmethod
    def write(self, text: bytes) -> None:
        """Sends a text."""

    def welcomed(self) -> Self:
        self.welcome = self.hear()
        return self

    def hear(self) -> Any:
        """The next frame, other than a reset by which nothing is lost."""
        frame = json.loads(self.text())
        kind = frame.get("type")
        if kind in ("welcome", "reset") and "epoch" in frame:
            self.epoch, self.offsets[frame["group"]] = frame["epoch"], frame["offset"]
            return frame if frame.get("lost", True) else self.hear()
        if kind == "message" and not frame.get("duplicate"):
            before, offset = self.offsets.get(frame["group"]), frame["offset"]
            if None not in (before, offset):
                assert offset == before + 1, frame
                self.offsets[frame["group"]] = offset
        return frame

    def hear_when(self, condition: Callable[[Any], bool]) -> Any:
        """The next frame that is like this."""
        return next(frame for frame in iter(self.hear, None) if condition(frame))

    def hear_until(self, body: str) -> list[str]:
        """The bodies of what comes, up to and with this one."""
        heard: list[str] = []
        while not heard or heard[-1] != body:
            heard.append(self.hear()["body"])
        return heard

    def say(self, **fields: Any) -> None:
        self.write(json.dumps(fields).encode())

    @property
    def offset(self) -> int | None:
        """Where it is in the group of its address."""
        return next(iter(self.offsets.values()))

    @property
    def position(self) -> str:
        """Where it would resume."""
        return f"?v=1&after={self.offset}&epoch={self.epoch}"


class Client(Visitor):
    """It reads all the time, and keeps what is not asked for yet."""

    def __init__(self, socket: ClientConnection) -> None:
        super().__init__()
        self.socket = socket

    def text(self) -> str | bytes:
        return self.socket.recv(WAIT)

    def write(self, text: bytes) -> None:
        self.socket.send(text, text=True)


def visitors() -> Iterator[Callable[..., Client]]:
    """A way to connect clients to servers or addresses, which are disconnected at the end."""
    with ExitStack() as sockets:

        def visit(server: Daphne | str, query: str = "?v=1", **options: Any) -> Client:
            url = getattr(server, "ws_url", server) + query
            patient: dict[str, Any] = {"open_timeout": WAIT, "ping_interval": None, "max_queue": None}
            client = Client(sockets.enter_context(connect(url, **patient | options)))
            return client if "join=none" in query else client.welcomed()

        yield visit


class Closed(EOFError):
    """The server has said that it closes the connection."""


class ManualClient(Visitor, AbstractContextManager["ManualClient"]):
    """It reads only when it is told to, from a socket of any kind."""

    def __init__(self, socket: socket.socket, path: str = "/ws?v=1", **options: Any) -> None:
        super().__init__()
        self.socket = socket
        self.texts: list[bytes] = []
        self.protocol = ClientProtocol(parse_uri(f"ws://localhost{path}"), **options)
        try:
            self.protocol.send_request(self.protocol.connect())
            while self.protocol.state is State.CONNECTING and not self.protocol.handshake_exc:
                self._flush()
                self._read()
            assert not self.protocol.handshake_exc, self.protocol.handshake_exc
        except BaseException:
            self.socket.close()
            raise

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    @property
    def close_code(self) -> int | None:
        return self.protocol.close_rcvd.code if self.protocol.close_rcvd else None

    def text(self) -> bytes:
        while not self.texts:
            if self.protocol.close_rcvd:
                raise Closed
            self._read()
        return self.texts.pop(0)

    def frames(self) -> Iterator[dict[str, Any]]:
        """What the server says, up to its close, which is answered."""
        with suppress(Closed):
            while True:
                yield self.hear()

    def hear_to_the_end(self) -> list[dict[str, Any]]:
        return list(self.frames())

    def write(self, text: bytes, opcode: int = 1) -> None:
        self.socket.sendall(masked(text, opcode))

    def _read(self) -> None:
        data = self.socket.recv(1 << 18)
        if not data:
            raise EOFError
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self.texts.append(bytes(event.data))
        assert self.protocol.parser_exc is None, self.protocol.parser_exc
        with suppress(OSError):  # the server waits a second or two for the answer to its close, and no longer
            self._flush()

    def _flush(self) -> None:
        for data in self.protocol.data_to_send():
            self.socket.sendall(data)
