"""Browsers as the server sees them: one connection each; tabs come with the cookie of a real sign-in."""

import json
from typing import Any
from unittest.mock import AsyncMock, patch

from channels.testing import WebsocketCommunicator
from django.test import AsyncClient

from broadcast import asend
from broadcast.access.revalidation import Revalidator
from broadcast.consumers import USER_CHANGED
from broadcast.engine.process import current_process
from project.asgi import application as whole_stack
from tests.kit.waiting import until

OPEN = {"subscribe": "anyone", "publish": "anyone", "announce": "anyone"}
GROUPS = {
    "broadcast": {"subscribe": "anyone", "publish": "authenticated"},
    "members": {"subscribe": "authenticated"},
    "editors": {"subscribe": "perm:broadcast.add_message"},
}
WAIT = 10  # seconds, for a machine that is busy


class Browser:
    """One client, which keeps what it was told when it came."""

    def __init__(self, application: Any, path: str = "/ws", headers: Any = (), subprotocols: Any = (), **scope: Any):
        self.line = WebsocketCommunicator(application, path, list(headers), list(subprotocols))
        self.line.scope.update(scope)

    async def open(self) -> None:
        accepted, self.subprotocol = await self.line.connect(WAIT)
        assert accepted

    async def connect(self) -> Any:
        """Connects, and returns the first frame."""
        await self.open()
        self.welcome = await self.hear()
        return self.welcome

    async def hear(self) -> Any:
        """The next frame, other than a reset by which nothing is lost."""
        text = await self.line.receive_from(WAIT)
        assert isinstance(text, str)
        frame = json.loads(text)
        return await self.hear() if isinstance(frame, dict) and frame.get("lost") is False else frame

    async def say(self, **fields: Any) -> None:
        await self.line.send_to(text_data=json.dumps(fields))

    async def ask(self, **fields: Any) -> Any:
        await self.say(**fields)
        return await self.hear()

    async def hears_nothing(self) -> None:
        """Asks for a pong, which comes after whatever else was on its way."""
        assert await self.ask(type="ping") == {"type": "pong"}

    async def hears(self, group: str) -> None:
        """Hears what is sent to a group, and nothing before that."""
        await asend(f"to {group}", group=group)
        assert (await self.hear())["body"] == f"to {group}"

    async def is_closed(self, code: int) -> None:
        assert await self.line.receive_output(WAIT) == {"type": "websocket.close", "code": code}

    async def leave(self) -> None:
        await self.line.disconnect(timeout=WAIT)


class Tab(Browser):
    """A page of one browser: a connection that joined nothing by its address and follows the groups it is told to."""

    def __init__(self, cookies: Any = None, path: str = "/ws?v=1&join=none") -> None:
        super().__init__(whole_stack, path, session_headers(cookies))

    async def follow(self, *groups: str) -> "Tab":
        await self.open()
        for group in groups:
            welcome = await self.ask(type="subscribe", group=group)
            assert welcome["type"] == "welcome", welcome
            self.user = welcome["user"]
        return self

    async def hears_that_it_has_to_come_back(self) -> None:
        bye = await self.hear()
        assert 0 <= bye.pop("after_ms") <= 250
        reason = "You are no longer signed in as you were."
        assert bye == {"type": "bye", "code": USER_CHANGED, "reason": reason, "reconnect": True}
        await self.is_closed(USER_CHANGED)

    async def hears_that_it_lost(self, group: str) -> str:
        error = await self.hear()
        assert (error["type"], error["code"], error["group"]) == ("error", "forbidden", group)
        assert list(error) == ["type", "author", "body", "code", "group"]
        return str(error["body"])


def session_headers(cookies: Any) -> list[tuple[bytes, bytes]]:
    return [(b"cookie", f"sessionid={cookies['sessionid'].value}".encode())] if cookies else []


async def signed_in(name: str = "ann") -> AsyncClient:
    """The browser of a member of the staff, signed in on the admin's page."""
    client = AsyncClient()
    response = await client.post("/admin/login/?next=/", {"username": name, "password": "secret"})
    assert response.status_code == 302
    return client


def revalidator() -> Revalidator:
    """That of this loop's node."""
    return current_process().node().part(Revalidator)


async def after_passes() -> None:
    """Waits until whole passes are over that began after this, and clients were told what was found."""
    watched = revalidator()
    with patch.object(watched, "_pass", AsyncMock(side_effect=watched._pass)) as begun:
        await until(lambda: begun.await_count > 2, WAIT)
