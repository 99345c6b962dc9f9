"""The WebSocket addresses: ``SOCKET_PATH`` for the default group, ``SOCKET_PATH/<group>`` for another."""

from __future__ import annotations

import re

from django.urls import re_path

from .conf import conf
from .consumers import BroadcastConsumer

socket_path = re.escape(conf.SOCKET_PATH.strip("/"))

websocket_urlpatterns = [
    re_path(rf"^{socket_path}(?:/(?P<group>[^/]+))?/?$", BroadcastConsumer.as_asgi()),
]
