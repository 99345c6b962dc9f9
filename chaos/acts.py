"""What publishers do inside a Django process: the ways to send, and what is known of the outcome."""

import os
import random
import signal
import time
import uuid
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, close_old_connections, transaction

from broadcast.exceptions import BroadcastError, LogUnavailable, OutcomeUnknown
from chaos.interruptions import cancelled, ctrl_c, frozen, frozen_at_commit, interrupted
from chaos.ledger import NOT_SENT, SENT, UNKNOWN
from chaos.sending import Keys, Outcomes, Undone, many, one, user

INSIST_FOR = 30.0  # seconds


# Each act returns the keys that it sent, or what became of each; an exception means that none was sent, or that
# nobody knows.


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


def signed(group: str, keys: Keys) -> Keys:
    """Sends as a user, whose row somebody may have locked."""
    one(group, keys[0], author=user())
    return keys[:1]


def fleeting(group: str, keys: Keys) -> Keys:
    """Shows something to whoever is live."""
    many(group, keys, persist=False)
    return keys


def fleeting_undone(group: str, keys: Keys) -> Keys:
    """The same inside a transaction that is rolled back: it is shown all the same."""
    try:
        with transaction.atomic():
            many(group, keys, persist=False)
            raise Undone
    except Undone:
        return keys


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


ACTS: dict[str, Callable[[str, Keys], Keys | Outcomes]] = {
    act.__name__: act
    for act in (
        *(alone, together, insisted, signed, fleeting, fleeting_undone, committed, partly, undone, manual),
        *(dies, dies_committed, frozen, frozen_at_commit, interrupted, ctrl_c, cancelled),
    )
}


def perform(act: str, group: str, keys: Keys) -> Outcomes:
    """Does one act and returns the outcome of each key."""
    try:
        done = ACTS[act](group, keys)
    except OutcomeUnknown:
        return dict.fromkeys(keys, UNKNOWN)
    except (Undone, BroadcastError):
        return dict.fromkeys(keys, NOT_SENT)
    except (DatabaseError, InterfaceError):  # perhaps in COMMIT
        return dict.fromkeys(keys, NOT_SENT if act == "undone" else UNKNOWN)
    return done if isinstance(done, dict) else {key: SENT if key in done else NOT_SENT for key in keys}
