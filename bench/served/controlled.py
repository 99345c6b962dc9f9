"""The control connection: one command a frame, done in the server's own event loop, and answered when done."""

import asyncio
import gc
import json
import time
from typing import Any

from bench.served import queries
from bench.served.population import send_away
from bench.speech import bodies


class Sender:
    """How an application sends. One that cannot send at all has nothing to override."""

    async def send(self, texts: list[str], persist: bool, together: bool) -> None:
        """Sends to everyone who listens: together in one call if there is one for many, else one after another."""
        raise NotImplementedError

    def publish(self, texts: list[str], threads: int, together: int) -> None:
        """Sends to the log from plain threads, `together` messages a call."""
        raise NotImplementedError

    def tell(self, texts: list[str], groups: list[str]) -> None:
        """Sends to the log of each of these groups."""
        raise NotImplementedError


async def perform(command: dict[str, Any], sender: Sender) -> dict[str, Any]:
    """Does what one command asks for; the answer is the same for all of them."""
    texts = bodies(command.get("first", 0), command.get("count", 0), command.get("size"))
    begun = time.monotonic()
    match command["do"]:
        case "send":
            await sender.send(texts, command["persist"], command["together"])
        case "publish":
            await asyncio.to_thread(sender.publish, texts, command["threads"], command["together"])
        case "tell":
            await asyncio.to_thread(sender.tell, texts, command["groups"])
        case "send_away":
            await asyncio.to_thread(send_away, command["signed_out"], command["deactivated"])
        case "collect":
            gc.collect()
    return {"begun": begun, **queries.counted()}


def with_control(application: Any, sender: Sender) -> Any:
    """The application, with the control connection beside it."""

    async def controlled(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "websocket" or scope["path"] != "/bench":
            await application(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            answer = await perform(json.loads(event["text"]), sender)
            await send({"type": "websocket.send", "text": json.dumps(answer)})

    return controlled
