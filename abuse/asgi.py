"""The host site for daphne, which counts what reaches it and tells that at an address of its own."""

from project.asgi import application as site  # isort: skip  (loads the apps)

import json
from collections import Counter
from typing import Any

from broadcast.engine.transports.daphne import gate

COUNTS_PATH = "/abuse/counts"


class Counted:
    """Counts frames as daphne's parser comes to them, and handshakes and requests as the site does."""

    def __init__(self) -> None:
        self.counts = Counter({"frames": 0, "websocket": 0, "http": 0})
        self._cost_of = gate.cost_of
        gate.cost_of = self.cost_of

    def cost_of(self, frame: Any) -> int:
        self.counts["frames"] += 1
        return self._cost_of(frame)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        if scope.get("path") == COUNTS_PATH:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            return await send({"type": "http.response.body", "body": json.dumps(self.counts).encode()})
        self.counts[scope["type"]] += 1
        return await site(scope, receive, send)


application = Counted()
