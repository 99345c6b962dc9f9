"""Looks at the ways of hints to other processes where no channel layer carries them, and takes their time."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db import connections

from ..conf import conf
from ..engine.hints.directories import Directory, new_socket, open_directory
from ..engine.hints.postgresql import POOLED, is_pooled, is_usable, own_connection
from ..engine.hints.sockets import places
from ..engine.process import current_process
from ..engine.storage.database import alias
from .finding import Finding

PATIENCE = 5.0  # seconds
CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))


def neighbours() -> Iterator[Finding]:
    """By which ways this process can tell others of messages, and how long that takes."""
    if not conf.HINTS_WITHOUT_LAYER:
        text = f"HINTS_WITHOUT_LAYER is False: {later('what other processes send')}, and unlogged messages not at all."
        yield Finding("warning", text, "Leave it out, or set CHANNEL_LAYERS to a layer of channels_redis.")
        return
    yield from by_sockets()
    if connections[alias()].vendor == "postgresql":
        yield from by_notify()


def later(what: str) -> str:
    return f"{what} arrives up to {conf.POLL_INTERVAL:g} s later"


def by_sockets() -> Iterator[Finding]:
    """The directory of sockets, and one of them."""
    name, reasons = f"{current_process().origin}-doctor", []
    for place in places():
        directory = open_directory(place, make=True)
        if directory is None:
            reasons.append(f"{place.path} cannot be made, or is not to be trusted")
            continue
        with directory:
            try:
                took = socket_round_trip(directory, name)
            except OSError as error:
                reasons.append(f"{place.path}: {error}")
                continue
            others = len(directory.names())
            directory.remove_if_empty()
        text = f"Hints travel on this machine by sockets in {place.path}; one takes {took * 1000:.2f} ms."
        yield Finding("ok", f"{text} Others that listen there right now: {others}.")
        if is_container() and connections[alias()].vendor not in ("sqlite", "postgresql"):
            fix = "Set CHANNEL_LAYERS to a layer of channels_redis, or share the directory."
            yield Finding("warning", f"Other containers do not share it: {later('what they send')}.", fix)
        return
    text = f"No sockets can be had ({'; '.join(reasons) or 'not on this system'}): {later('what others send')}."
    yield Finding("warning", text, "Set RUNTIME_DIRECTORY to a directory that the processes share, or use Redis.")


def socket_round_trip(directory: Directory, name: str) -> float:
    """The seconds that a datagram takes. Raises OSError if it does not come."""
    bound = directory.bind(name)
    try:
        with bound, new_socket() as sender:
            bound.settimeout(PATIENCE)
            begun = time.monotonic()
            directory.send(sender, name, current_process().seal.close(b"doctor"))
            bound.recv(1024)
            return time.monotonic() - begun
    finally:
        directory.remove(name)


def is_container() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ or any(map(Path.exists, CONTAINER_FILES))


def by_notify() -> Iterator[Finding]:
    """LISTEN and NOTIFY of the log's database, on a connection of their own."""
    unless = "Other machines: " + later("what they send")
    if not is_usable(connections[alias()]):
        yield Finding("warning", f"{unless}, for NOTIFY is used with psycopg 3 only.", "Run: pip install psycopg")
        return
    try:
        with own_connection() as connection:
            if is_pooled(connection):
                text = f"{unless}, for {POOLED}."
                yield Finding("warning", text, "Let servers reach PostgreSQL itself, or use Redis.")
                return
            took = notify_round_trip(connection)
    except Exception as error:
        yield Finding("warning", f"{unless}, for NOTIFY does not work: {error}", "See that the database runs.")
        return
    yield Finding("ok", f"Hints travel to other machines by NOTIFY; one takes {took * 1000:.2f} ms.")


def notify_round_trip(listener: Any) -> float:
    """The seconds that a notification takes from one connection to another. Raises TimeoutError if it does not come."""
    listener.execute("LISTEN broadcast_doctor")
    with own_connection() as sender, selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        begun = time.monotonic()
        sender.execute("NOTIFY broadcast_doctor")
        if not selector.select(PATIENCE):
            raise TimeoutError("nothing is heard")
        return time.monotonic() - begun
