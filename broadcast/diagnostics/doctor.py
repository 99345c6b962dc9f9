"""The doctor: finds what is wrong with this deployment and says how to mend it. ``manage.py broadcast doctor``."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from channels.layers import InMemoryChannelLayer
from channels.routing import get_default_application
from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections
from django.db.migrations.executor import MigrationExecutor

from ..access import policy
from ..api import asend
from ..conf import conf
from ..engine.hints.layer import current_layer
from ..engine.process import current_process
from ..engine.storage.database import alias, log_access
from ..exceptions import BroadcastError, LogUnavailable, NoLog
from ..groups import DEFAULT_GROUP
from .finding import Finding, Level
from .neighbours import neighbours
from .probe import ProbeResult, probe_websocket
from .visitors import visitors

GROUP = "broadcast-doctor"
PATIENCE = 5.0  # seconds
MAX_SKEW = 2.0  # seconds
MIN_CAPACITY = 100  # hints
MIN_EXPIRY = 10  # seconds
MIN_GROUP_EXPIRY = 60  # seconds
STATIC_FILE = "broadcast/feed.js"


def examine() -> Iterator[Finding]:
    """Looks at everything, one thing after another. Nothing in it raises; what fails is a finding.

    What would be logged of it meanwhile is said here in other words.
    """
    disabled = logging.root.manager.disable
    logging.disable()
    try:
        for examination in (
            *(system_checks, refusals, log, clock, layer, visitors, application, static_files, round_trip),
        ):
            try:
                yield from examination()
            except Exception as error:
                text = f"Looking at the {examination.__name__.replace('_', ' ')} failed: {error!r}."
                yield Finding("error", text, "See what is said above, or report it.")
    finally:
        logging.disable(disabled)


def system_checks() -> Iterator[Finding]:
    """The app's system checks that find something, with those of the database, and with DEBUG off those of --deploy."""
    found = checks.run_checks(tags=["broadcast"], include_deployment_checks=not settings.DEBUG, databases=[alias()])
    for message in found:
        if not message.is_silenced():
            warned: Level = "warning" if message.is_serious(checks.WARNING) else "ok"
            level: Level = "error" if message.is_serious() else warned
            yield Finding(level, f"{message.msg} ({message.id})", message.hint or "")


def refusals() -> Iterator[Finding]:
    """The lines of refusals: visitors are not told which setting is meant, so whoever runs the site reads it there."""
    logger = logging.getLogger("broadcast")
    if not logger.disabled and logger.getEffectiveLevel() <= logging.WARNING:
        yield Finding("ok", f"Refusals are logged with the setting. {policy.explain('announce', DEFAULT_GROUP)}")
    else:
        yield Finding("warning", "Refusals are not logged.", 'Let LOGGING pass the warnings of "broadcast".')


def log() -> Iterator[Finding]:
    """The tables that hold the messages: there, and up to date."""
    try:
        with log_access() as connection:
            executor = MigrationExecutor(connection)
            # A database that is the log's alone has nothing else to be migrated there.
            own = None if alias() == DEFAULT_DB_ALIAS else "broadcast"
            pending = [step for step, _ in executor.migration_plan(executor.loader.graph.leaf_nodes(own))]
    except NoLog as error:
        yield Finding("error", f"There is no message log: {error}.", "Set DATABASES and run: python manage.py migrate")
        return
    except LogUnavailable as error:
        yield Finding("error", str(error), "See that the database runs and that DATABASES names it.")
        return
    if pending:
        labels = ", ".join(sorted({step.app_label for step in pending}))
        yield Finding("error", f"Migrations are pending: of {labels}.", "Run: python manage.py migrate")
    if any(step.app_label == "broadcast" for step in pending):
        return
    yield Finding("ok", f"The message log is in the {connection.vendor} database {alias()!r}.")


def clock() -> Iterator[Finding]:
    """This machine's clock against the database's. ``sent_at`` and what is kept depend on it."""
    try:
        with log_access() as connection:
            if connection.vendor != "postgresql":
                return
            with connection.cursor() as cursor:
                cursor.execute("SELECT EXTRACT(EPOCH FROM clock_timestamp())")
                skew = abs(time.time() - float(cursor.fetchone()[0]))
    except LogUnavailable:
        return
    if skew > MAX_SKEW:
        fix = "Keep both machines' clocks right with NTP."
        yield Finding("warning", f"This machine's clock and the database's differ by {skew:.1f} s.", fix)
    else:
        yield Finding("ok", "The clocks of this machine and the database agree.")


def layer() -> Iterator[Finding]:
    """The channel layer that carries hints between processes."""
    try:
        found = current_layer()
    except Exception as error:
        yield Finding("error", f"The channel layer cannot be made: {error}.", "Correct CHANNEL_LAYERS.")
        return
    if found is None or isinstance(found, InMemoryChannelLayer):
        ends = (
            "There is no channel layer."
            if found is None
            else "The channel layer is in memory and ends at this process."
        )
        yield Finding("ok", ends)
        yield from neighbours()
        return
    if library := current_process().system.greenlet_library():
        text = (
            f"{library} has made greenlets of this process's threads: what it sends reaches other processes up to "
            f"{conf.POLL_INTERVAL:g} s later, and unlogged messages never."
        )
        yield Finding("warning", text, "Send from a process with threads where that is too late.")
        return
    try:
        took = asyncio.run(echo(found))
    except Exception as error:
        text = f"The channel layer cannot be reached: {str(error) or type(error).__name__}."
        yield Finding("error", text, "See that Redis runs and that CHANNEL_LAYERS names it.")
        return
    yield Finding("ok", f"The channel layer carries an event in {took * 1000:.1f} ms.")
    yield from limits(found)


async def echo(found: Any) -> float:
    """Sends events through the layer to itself; how many seconds the second took, with all connections open."""
    async with asyncio.timeout(PATIENCE):
        channel = await found.new_channel()
        await found.group_add(GROUP, channel)
        for _ in range(2):
            begun = time.monotonic()
            await found.group_send(GROUP, {"type": "doctor"})
            await found.receive(channel)
            took = time.monotonic() - begun
        await found.group_discard(GROUP, channel)
    return took


def limits(found: Any) -> Iterator[Finding]:
    """Settings of a layer under which hints are lost: messages still arrive, but later."""
    values = dict(vars(found))  # an attribute may need a running loop
    capacity = "channel_capacity" if values.get("channel_capacity") else "capacity"
    if capacity == "channel_capacity":
        values[capacity] = found.get_capacity("specific.hub!hub")  # as hubs' channels are called
    for name, least, effect in (
        (capacity, MIN_CAPACITY, "hints over it are dropped"),
        ("expiry", MIN_EXPIRY, "hints that wait that long are dropped"),
        ("group_expiry", MIN_GROUP_EXPIRY, "hubs fall out of their groups between two renewals"),
    ):
        value = values.get(name)
        if isinstance(value, int | float) and value < least:
            text = f"The channel layer's {name} is {value}: {effect}, and messages arrive late."
            yield Finding("warning", text, f'Set "{name}" in CHANNEL_LAYERS to {least} or more.')


def application() -> Iterator[Finding]:
    """Looks if ASGI_APPLICATION, where it is set, answers a WebSocket at SOCKET_PATH, and how that is written to."""
    if not getattr(settings, "ASGI_APPLICATION", None):
        return
    try:
        answer = asyncio.run(probe_websocket(get_default_application()))
    except Exception as error:
        text = f"ASGI_APPLICATION does not answer a WebSocket at {conf.SOCKET_PATH}: {error!r}."
        fix = "Wrap the application in your asgi.py with broadcast.asgi.with_broadcast, or route websocket_urlpatterns."
        yield Finding("error", text, fix)
        return
    if answer.accepted:
        yield Finding("ok", f"WebSockets are answered at {conf.SOCKET_PATH}.")
    else:
        fix = "Route broadcast.routing.websocket_urlpatterns there, or set SOCKET_PATH to where they are."
        yield Finding("error", f"WebSockets at {conf.SOCKET_PATH} are refused.", fix)
    if answer.is_served:
        yield way(answer)


def way(answer: ProbeResult) -> Finding:
    """Which way messages would be written to such a connection, and what it takes for the fast one."""
    by_asgi = "Each message is handed to the server for each connection (ASGI send), which is slower"
    if not conf.DIRECT_WRITES:
        return Finding("ok", f"{by_asgi}: DIRECT_WRITES is False.")
    if answer.wrapper:
        fix = (
            f"Have {answer.wrapper} pass on the send that it was given, or keep that middleware away from "
            f"{conf.SOCKET_PATH}. If it has to be there, set DIRECT_WRITES to False, and this is no longer said."
        )
        return Finding("warning", f"{by_asgi}: the site's middleware wraps send in {answer.wrapper}.", fix)
    if not any(map(find_spec, ("daphne", "uvicorn"))):
        return Finding("ok", f"{by_asgi}: neither daphne nor uvicorn is installed.")
    return Finding(
        "ok",
        "Connections are written to directly. With TLS in the server, or another than daphne or uvicorn, they are not.",
    )


def static_files() -> Iterator[Finding]:
    """Looks for the page's script, as whatever serves static files here would."""
    if not apps.is_installed("django.contrib.staticfiles"):
        fix = "Add django.contrib.staticfiles to INSTALLED_APPS."
        yield Finding("warning", "The app's static files are served by nothing that Django knows of.", fix)
        return
    if finders.find(STATIC_FILE) is None:
        fix = "Keep AppDirectoriesFinder in STATICFILES_FINDERS."
        yield Finding("error", f"Django does not find {STATIC_FILE} among the static files.", fix)
        return
    whitenoise = any("whitenoise" in name.lower() or "static" in name.lower() for name in settings.MIDDLEWARE)
    finds = whitenoise and getattr(settings, "WHITENOISE_USE_FINDERS", False)  # else it serves what was collected
    if settings.DEBUG or finds or is_collected():
        yield Finding("ok", "Static files are found.")
    else:
        fix = "Run: python manage.py collectstatic, and have the web server serve STATIC_ROOT; or use WhiteNoise."
        yield Finding("warning", "With DEBUG off nothing serves the static files.", fix)


def is_collected() -> bool:
    """Found where it was collected: by its hashed name where the storage has such, for the plain one may be gone."""
    hashed = getattr(staticfiles_storage, "stored_name", None)
    try:
        return staticfiles_storage.exists(hashed(STATIC_FILE) if hashed else STATIC_FILE)
    except (ImproperlyConfigured, ValueError):  # nowhere to collect to; not collected
        return False


def round_trip() -> Iterator[Finding]:
    """A message sent and received for real, in a group of its own that nobody else listens to."""
    try:
        logged, delivered = asyncio.run(send_and_receive())
    except (BroadcastError, DatabaseError, InterfaceError, TimeoutError) as error:
        text = f"A message did not make it through log and hub: {str(error) or type(error).__name__}."
        yield Finding("error", text, "See what is said above.")
        return
    finally:
        connections.close_all()
    yield Finding(
        "ok", f"A message was in the log after {logged * 1000:.1f} ms and delivered after {delivered * 1000:.1f} ms."
    )


class Listener:
    """A follower that hears one message."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()

    def notify(self) -> None:
        self.heard.set()


async def send_and_receive() -> tuple[float, float]:
    """The seconds until a message was in the log, and until a hub had delivered it."""
    listener = Listener()
    with current_process().node() as node:
        async with asyncio.timeout(PATIENCE):
            position, _ = await node.hub.join(listener, GROUP)
            try:
                begun = time.monotonic()
                message = await asend("Is everything well?", group=GROUP, author="Doctor")
                if message.offset is None:
                    raise NoLog("it was not logged")
                logged = time.monotonic() - begun
                await listener.heard.wait()
                return logged, time.monotonic() - begun
            finally:
                position.leave()
