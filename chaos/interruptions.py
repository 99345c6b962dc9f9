"""Publishers that are interrupted or frozen while they send: by time limits, Ctrl-C, a cancelled task, SIGSTOP."""

import asyncio
import ctypes
import os
import random
import signal
import threading
import time

from django.db import DatabaseError, InterfaceError, connections, transaction

from broadcast import asend
from broadcast.exceptions import BroadcastError, OutcomeUnknown
from chaos.database.base import freezing
from chaos.ledger import NOT_SENT, SENT, UNKNOWN
from chaos.sending import Keys, Outcomes, item_of, many, one

SOON = 0.03  # seconds: most sends end within them, many do not
END_TIMEOUT = 40.0  # seconds for a thread to end


class TimeLimit(BaseException):
    """Raised in a thread from outside, as task queues do to what takes too long."""


class Sender(threading.Thread):
    """Sends one message in a thread of its own, and may be interrupted at any point of that."""

    def __init__(self, group: str, key: str) -> None:
        super().__init__(daemon=True)
        self.outcome = UNKNOWN
        self._what = group, key

    def run(self) -> None:
        try:
            self.outcome = self._send()
        except TimeLimit:
            pass  # wherever it was
        finally:
            connections.close_all()

    def _send(self) -> str:
        try:
            one(*self._what)
        except OutcomeUnknown:
            return UNKNOWN
        except BroadcastError:
            return NOT_SENT
        except (DatabaseError, InterfaceError):
            return UNKNOWN
        return SENT

    def interrupt(self) -> None:
        assert self.ident is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.ident), ctypes.py_object(TimeLimit))


def interrupted(group: str, keys: Keys) -> Outcomes:
    """Sends from several threads at once, some of which are interrupted."""
    senders = {key: Sender(group, key) for key in keys}
    for sender in senders.values():
        sender.start()
    for sender in random.sample(list(senders.values()), len(senders) // 2):
        time.sleep(random.uniform(0, SOON))
        sender.interrupt()
    for key, sender in senders.items():
        sender.join(END_TIMEOUT)
        if sender.is_alive():
            raise AssertionError(f"{key} is still being sent after {END_TIMEOUT:g} s")
    return {key: sender.outcome for key, sender in senders.items()}


def ctrl_c(group: str, keys: Keys) -> Outcomes:
    """Sends from the main thread, in which Ctrl-C may strike at any point of that."""
    outcome = UNKNOWN
    timer = threading.Timer(random.uniform(0, SOON), os.kill, [os.getpid(), signal.SIGINT])
    try:
        timer.start()
        try:
            one(group, keys[0])
            outcome = SENT
        except OutcomeUnknown:
            pass
        except BroadcastError:
            outcome = NOT_SENT
        timer.join()
        time.sleep(SOON)  # at the latest here it is raised
    except KeyboardInterrupt:
        pass
    return {keys[0]: outcome}


def cancelled(group: str, keys: Keys) -> Outcomes:
    """Sends from a task that is cancelled."""
    return {keys[0]: asyncio.run(cancel(group, keys[0]))}


async def cancel(group: str, key: str) -> str:
    task = asyncio.create_task(asend(**item_of(key), group=group))
    await asyncio.sleep(random.uniform(0, SOON))
    task.cancel()
    try:
        await task
    except (asyncio.CancelledError, OutcomeUnknown, DatabaseError, InterfaceError):
        return UNKNOWN
    except BroadcastError:
        return NOT_SENT
    return SENT


def frozen(group: str, keys: Keys) -> Keys:
    """Is stopped inside its transaction, with messages in it that wait for their offsets."""
    with transaction.atomic():
        many(group, keys)
        freeze()
    return keys


def frozen_at_commit(group: str, keys: Keys) -> Keys:
    """Is stopped before its COMMIT, while it holds the group's row."""
    with freezing(freeze):
        one(group, keys[0])
    return keys[:1]


def freeze() -> None:
    """Asks whoever reads to let this process go on after some time, and stops."""
    print("frozen", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
