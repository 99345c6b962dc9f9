"""The consumer of the Channels tutorial, put to the same test for comparison.

What differs from the tutorial: it joins several rooms on one connection, and publishers outside of it send by
`group_send`, after their commit where they are in a transaction.
"""

import json
from functools import partial
from typing import Any

from asgiref.sync import async_to_sync
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.db import transaction
from django.urls import re_path


class ChatConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    async def connect(self) -> None:
        self.rooms = self.scope["url_route"]["kwargs"]["rooms"].split(",")
        for room in self.rooms:
            await self.channel_layer.group_add(f"chat_{room}", self.channel_name)
        await self.accept()

    async def disconnect(self, close_code: int) -> None:
        for room in self.rooms:
            await self.channel_layer.group_discard(f"chat_{room}", self.channel_name)

    async def receive(self, text_data: str) -> None:
        said = json.loads(text_data)
        event = {"type": "chat.message", "message": said["message"]}
        await self.channel_layer.group_send(f"chat_{said['room']}", event)

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps({"message": event["message"]}))


def tell(room: str, message: str) -> None:
    """Sends from sync code, at the commit of the transaction around it."""
    event = {"type": "chat.message", "message": message}
    layer: Any = get_channel_layer()
    send = partial(async_to_sync(layer.group_send), f"chat_{room}", event)
    if transaction.get_autocommit() or transaction.get_connection().in_atomic_block:
        transaction.on_commit(send)
    else:
        send()


def with_tutorial(application: Any) -> Any:
    """The same application with the tutorial's consumer as its WebSockets."""
    rooms = re_path(r"^tutorial/(?P<rooms>[\w,]+)/$", ChatConsumer.as_asgi())
    return ProtocolTypeRouter({"http": application, "websocket": AuthMiddlewareStack(URLRouter([rooms]))})
