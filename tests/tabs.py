"""Pages of browsers as the server sees them: through the whole stack, with the cookie of a real sign-in."""

import json
from typing import Any

from channels.testing import WebsocketCommunicator
from django.test import AsyncClient

from broadcast import asend
from broadcast.access.revalidation import Revalidator
from broadcast.consumers import USER_CHANGED
from broadcast.engine.process import current_process
from project.asgi import application as whole_stack
from tests.kit.waiting import until

WAIT = 10  # seconds, for a machine that is busy


class Tab:
    """A page of one browser: a connection that joined nothing by its address and follows the groups it is told to."""

    def __init__(self, cookies: Any = None, path: str = "/ws?v=1&join=none", **scope: Any) -> None:
        headers = [(b"cookie", f"sessionid={cookies['sessionid'].value}".encode())] if cookies else []
        self.line = WebsocketCommunicator(whole_stack, path, headers)
        self.line.scope.update(scope)

    async def follow(self, *groups: str) -> "Tab":
        assert (await self.line.connect(WAIT))[0]
        for group in groups:
            welcome = await self.ask(type="subscribe", group=group)
            assert welcome["type"] == "welcome", welcome
            self.user = welcome["user"]
        return self

    async def hear(self) -> Any:
        return json.loads(await self.line.receive_from(WAIT))

    async def say(self, **fields: Any) -> None:
        await self.line.send_to(text_data=json.dumps(fields))

    async def ask(self, **fields: Any) -> Any:
        await self.say(**fields)
        return await self.hear()

    async def hears_that_it_has_to_come_back(self) -> None:
        bye = await self.hear()
        assert 0 <= bye.pop("after_ms") <= 250
        assert bye == {
            "type": "bye",
            "code": USER_CHANGED,
            "reason": "You are no longer signed in as you were.",
            "reconnect": True,
        }
        assert await self.line.receive_output(WAIT) == {"type": "websocket.close", "code": USER_CHANGED}

    async def hears_that_it_lost(self, group: str) -> str:
        error = await self.hear()
        assert (error["type"], error["code"], error["group"]) == ("error", "forbidden", group)
        assert list(error) == ["type", "author", "body", "code", "group"]
        return str(error["body"])

    async def hears(self, group: str) -> None:
        await asend(f"to {group}", group=group)
        assert (await self.hear())["body"] == f"to {group}"


async def signed_in(name: str = "ann") -> AsyncClient:
    client = AsyncClient()
    response = await client.post("/admin/login/?next=/", {"username": name, "password": "secret"})
    assert response.status_code == 302
    return client


def revalidator() -> Revalidator:
    """That of this loop's node."""
    return current_process().node().part(Revalidator)


async def after_passes() -> None:
    """Waits until whole passes are over that began after this, and clients were told what was found."""
    passes = 0
    watched = revalidator()
    make_pass = watched._pass

    async def counted() -> None:
        nonlocal passes
        await make_pass()
        passes += 1

    watched._pass = counted  # type: ignore[method-assign]
    await until(lambda: passes >= 2, WAIT)
    watched._pass = make_pass  # type: ignore[method-assign]
