"""Chat pages as a view would fill them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from broadcast.elements.texts import TEXTS
from broadcast.engine.history import History
from broadcast.models import Message

SENT = datetime(2026, 2, 28, 9, 30, tzinfo=UTC)
ATTACK = "<img src=/static/none onerror=\"document.title = 'hacked'\">"


def message(offset: int, author: str, body: str, source: str) -> Message:
    return Message(group_id="broadcast", offset=offset, author=author, body=body, source=source, sent_at=SENT)


MESSAGES = [
    message(1, "Server", "Welcome to the demo.", "server"),
    message(2, "ann", "two\n lines", "user"),
    message(3, ATTACK, ATTACK, "guest"),
]

CHAT: dict[str, Any] = {
    "group": "broadcast",
    "name": "broadcast",
    "title": "broadcast",
    "history": History("e1", 3, MESSAGES),
    "socket_path": "/ws",
    "user_name": "",
    "write": True,
    "may_publish": True,
    "post_url": "/broadcast/",
    "max_body": 100,
    "texts": TEXTS,
}
