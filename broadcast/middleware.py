"""The user of a connection: the site's user by the session, as ``AuthMiddleware`` of Channels has it."""

from __future__ import annotations

import logging
from typing import Any

from channels.auth import AuthMiddleware
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, InterfaceError, connections

from .engine.log_lines import say
from .engine.process import current_process
from .engine.storage import database
from .engine.storage.threads import threads_for_loop


class UserMiddleware(AuthMiddleware):  # type: ignore[misc]
    """Adds the session's user to the scope; everyone is a guest where there are no sessions yet, before ``migrate``.

    While the database with the sessions cannot be read, everyone is refused: clients try again. A connection keeps
    every coroutine and every copy of the scope that it comes through, so there is one of each here. Who brings no
    session is a guest without a look into the database, and without a wait for a thread.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope = dict(scope)
        self.populate_scope(scope)
        try:
            if scope["session"].is_empty():
                scope["user"] = AnonymousUser()
            else:
                await self.resolve_scope(scope)
        except (DatabaseError, InterfaceError) as error:
            if not await has_no_tables():
                say(logging.ERROR, "Refused a WebSocket, for its session could not be read: %s", error)
                await refuse(scope, receive, send)
                return
            scope["user"] = AnonymousUser()
            send = getattr(getattr(send, "__self__", None), "real_send", send)  # not by the session, which is saved
        await self.inner(scope, receive, send)


async def has_no_tables() -> bool:
    threads = await threads_for_loop(current_process().system)
    try:
        return await threads.read(lambda: database.lacks_tables(connections[database.alias()]))
    finally:
        threads.close()


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """Turns a client away before it is let in."""
    await receive()
    await send({"type": "websocket.close"})
