"""For people's tests: what was sent, collected while it is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import ANY

from .access.audiences import group_for
from .engine.process import current_process
from .models import Message

__all__ = ["Captured", "capture_broadcasts"]


class Captured(list[Message]):
    """The messages sent so far, oldest first: a list with assertions that show what *was* sent when they fail."""

    def assert_sent(
        self,
        *,
        body: Any = ANY,
        author: Any = ANY,
        group: Any = ANY,
        to: Any = ANY,
        data: Any = ANY,
        times: int = 1,
    ) -> None:
        """Fails unless exactly ``times`` of the messages have all that is given here; what is left out may be anything.

        ``author`` is a name, or a user, who then must have sent it as themselves. ``to`` is whom it
        was for: a user, a model instance or a group's name, as in ``send``. ``data=None`` means a
        message without data.
        """
        expected = {"author": author, "group": group, "to": to, "body": body, "data": data}
        count = sum(fits(message, expected) for message in self)
        if count != times:
            wanted = ", ".join(f"{name}={value!r}" for name, value in expected.items() if value is not ANY)
            raise AssertionError(f"Expected {times} of send({wanted}), found {count}. {self}")

    def assert_nothing_sent(self) -> None:
        """Fails if anything was sent."""
        if self:
            raise AssertionError(f"Expected that nothing is sent. {self}")

    def __str__(self) -> str:
        if not self:
            return "Nothing was sent."
        return "\n  ".join(["This was sent:", *map(described, self)])


def fits(message: Message, expected: dict[str, Any]) -> bool:
    author = expected["author"]
    is_author = message.user_id == author.pk if hasattr(author, "get_username") else author == message.author
    is_for = expected["to"] is ANY or group_for(expected["to"]) == message.group_id
    actual = {"group": message.group_id, "body": message.body, "data": message.data}
    return is_author and is_for and all(expected[name] == value for name, value in actual.items())


def described(message: Message) -> str:
    data = "" if message.data is None else f", data={message.data!r}"
    return f"author={message.author!r}, group={message.group_id!r}, body={message.body!r}{data}"


@contextmanager
def capture_broadcasts(group: str | None = None) -> Iterator[Captured]:
    """Collects what this process sends, in all its threads, to ``group`` or, without one, to any.

    A message is collected when ``send()`` returns, as mail is in Django's ``mail.outbox``: also
    inside a transaction, and also if that is rolled back later. It is sent all the same. Works with
    and without database access, in sync and async tests; it is a plain ``with`` in both.
    """
    captured = Captured()

    def collect(messages: Sequence[Message]) -> None:
        captured.extend(message for message in messages if group in (None, message.group_id))

    listeners = current_process().listeners
    listeners.append(collect)
    try:
        yield captured
    finally:
        listeners.remove(collect)
