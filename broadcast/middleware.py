"""The user of a connection: the site's user by the session, as ``AuthMiddleware`` of Channels has it."""

from __future__ import annotations

import logging
from typing import Any

from channels.middleware import BaseMiddleware
from django.contrib.auth.models import AnonymousUser
from django.db import Error

from .access.arrivals import Arrivals
from .access.sessions import unwrapped
from .engine.log_lines import say
from .engine.process import current_process
from .exceptions import LogUnavailable, NoLog


class UserMiddleware(BaseMiddleware):  # type: ignore[misc]
    """Adds the session's user to the scope; everyone is a guest where there are no sessions yet, before ``migrate``.

    While the database with the sessions cannot be read, everyone is refused: clients try again. A connection keeps
    every coroutine and every copy of the scope that it comes through, so there is one of each here. Who brings no
    session is a guest without a look into the database, and without a wait for a thread. Those who arrive while
    others are looked up are looked up together.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope = dict(scope)
        session = unwrapped(scope["session"])
        try:
            scope["user"] = AnonymousUser() if session.is_empty() else await user_of(session)
        except NoLog:
            scope["user"] = AnonymousUser()
            send = getattr(getattr(send, "__self__", None), "real_send", send)  # not by the session, which is saved
        except (LogUnavailable, Error) as error:
            say(logging.ERROR, "Refused a WebSocket, for its session could not be read: %s", error.__cause__ or error)
            await refuse(scope, receive, send)
            return
        await self.inner(scope, receive, send)


async def user_of(session: Any) -> Any:
    with current_process().node() as node:
        return await node.part(Arrivals).user_of(session)


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """Turns a client away before it is let in."""
    await receive()
    await send({"type": "websocket.close"})
