"""What publishers do inside a Django process: the ways to send, and what is known of the outcome."""

import os
import random
import signal
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, transaction

from broadcast import send, send_many
from broadcast.exceptions import BroadcastError, LogUnavailable, OutcomeUnknown
from chaos import text_of, tutorial

SENT, NOT_SENT, UNKNOWN = "sent", "not sent", "unknown"
INSIST_FOR = 30.0  # seconds

Keys = list[str]


class Undone(Exception):
    """Raised to have a transaction rolled back."""


def item_of(key: str) -> dict[str, Any]:
    number = int(key.rpartition("-")[2])
    return {"body": text_of(key), "data": {"number": number, "url": "/ü"} if number % 5 == 0 else None}


def one(group: str, key: str, **options: Any) -> None:
    if settings.CHAOS_TUTORIAL:
        tutorial.tell(group, text_of(key))
    else:
        send(**item_of(key), group=group, **options)


def many(group: str, keys: Iterable[str]) -> None:
    if settings.CHAOS_TUTORIAL:
        for key in keys:
            tutorial.tell(group, text_of(key))
    else:
        send_many([item_of(key) for key in keys], group=group)


# Each act returns the keys that it sent; an exception means that none was sent, or that nobody knows.


def alone(group: str, keys: Keys) -> Keys:
    one(group, keys[0])
    return keys[:1]


def together(group: str, keys: Keys) -> Keys:
    many(group, keys)
    return keys


def insisted(group: str, keys: Keys) -> Keys:
    """Sends again with the same ref until it is known to be sent."""
    ref, deadline = uuid.uuid4(), time.monotonic() + INSIST_FOR
    while True:
        try:
            one(group, keys[0], ref=ref)
        except LogUnavailable:
            if time.monotonic() > deadline:
                raise OutcomeUnknown("It was tried again and again.") from None
            time.sleep(random.uniform(0.1, 0.3))
            close_old_connections()
        else:
            return keys[:1]


def committed(group: str, keys: Keys) -> Keys:
    with transaction.atomic():
        for key in keys[:-1]:
            one(group, key)
        time.sleep(random.uniform(0, 0.05))
        many(group, keys[-1:])
    return keys


def partly(group: str, keys: Keys) -> Keys:
    """Commits a transaction of which a part was rolled back to a savepoint."""
    with transaction.atomic():
        many(group, keys[0::2])
        try:
            with transaction.atomic():
                many(group, keys[1::2])
                raise Undone
        except Undone:
            pass
    return keys[0::2]


def undone(group: str, keys: Keys) -> Keys:
    with transaction.atomic():
        many(group, keys)
        raise Undone


def manual(group: str, keys: Keys) -> Keys:
    """Commits by hand, where no `on_commit` exists: the next look of a hub finds the messages."""
    transaction.set_autocommit(False)
    try:
        many(group, keys)
        transaction.commit()
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    return keys


def dies(group: str, keys: Keys) -> Keys:
    """Dies before its COMMIT."""
    with transaction.atomic():
        many(group, keys)
        os.kill(os.getpid(), signal.SIGKILL)
    return keys


def dies_committed(group: str, keys: Keys) -> Keys:
    """Dies after its COMMIT and before the messages have got their offsets."""
    with transaction.atomic():
        transaction.on_commit(say_committed_and_die)
        many(group, keys)
    return keys


def say_committed_and_die() -> None:
    print("committed", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


ACTS: dict[str, Callable[[str, Keys], Keys]] = {
    act.__name__: act for act in (alone, together, insisted, committed, partly, undone, manual, dies, dies_committed)
}


def perform(act: str, group: str, keys: Keys) -> dict[str, str]:
    """Does one act and returns the outcome of each key."""
    try:
        sent = set(ACTS[act](group, keys))
    except OutcomeUnknown:
        return dict.fromkeys(keys, UNKNOWN)
    except (Undone, BroadcastError):
        return dict.fromkeys(keys, NOT_SENT)
    except (DatabaseError, InterfaceError):  # perhaps in COMMIT
        return dict.fromkeys(keys, NOT_SENT if act == "undone" else UNKNOWN)
    return {key: SENT if key in sent else NOT_SENT for key in keys}
