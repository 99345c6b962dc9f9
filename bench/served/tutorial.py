"""The consumer of the Channels tutorial. Its rooms have the addresses of this project's groups."""

import json
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import re_path

from bench.served.controlled import Sender


class ChatConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    async def connect(self) -> None:
        room_name = self.scope["url_route"]["kwargs"].get("room_name", "broadcast")
        self.room_group_name = f"chat_{room_name}"
        await self.channel_layer.group_add(self.room_group_name, self.channel_name)
        await self.accept()

    async def disconnect(self, close_code: int) -> None:
        await self.channel_layer.group_discard(self.room_group_name, self.channel_name)

    async def receive(self, text_data: str) -> None:
        said = json.loads(text_data)
        # The one addition: a client that only sends names the room in which it is heard.
        group = f"chat_{said['room']}" if "room" in said else self.room_group_name
        await self.channel_layer.group_send(group, {"type": "chat.message", "message": said["message"]})

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=json.dumps({"message": event["message"]}))


class TutorialSender(Sender):
    async def send(self, texts: list[str], persist: bool, together: bool) -> None:
        layer = get_channel_layer()
        for text in texts:
            await layer.group_send("chat_broadcast", {"type": "chat.message", "message": text})


rooms = re_path(r"^ws(?:/(?P<room_name>[\w.]+))?$", ChatConsumer.as_asgi())
application = ProtocolTypeRouter({"websocket": AuthMiddlewareStack(URLRouter([rooms]))})
