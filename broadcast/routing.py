"""The WebSocket addresses: ``/ws`` for the default group, ``/ws/<group>`` for another."""

from __future__ import annotations

from django.urls import re_path

from .consumers import BroadcastConsumer

websocket_urlpatterns = [
    re_path(r"^ws(?:/(?P<group>[^/]+))?/?$", BroadcastConsumer.as_asgi()),
]
