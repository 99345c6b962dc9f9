"""Checks of the app's environment: its server, its channel layer, its database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings as django_settings
from django.core import checks
from django.db import Error as DatabaseFailure
from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from ..conf import conf
from ..models import Message
from .settings import suggestion


@checks.register("broadcast")
def daphne_precedes_staticfiles(**kwargs: Any) -> list[checks.CheckMessage]:
    rivals = [app.name for app in apps.get_app_configs() if app.label in ("daphne", "staticfiles")]
    if rivals != ["django.contrib.staticfiles", "daphne"]:
        return []
    return [
        checks.Error(
            "daphne comes after django.contrib.staticfiles in INSTALLED_APPS, "
            "so runserver is not daphne's and speaks no WebSocket.",
            hint='Put "daphne" first in INSTALLED_APPS.',
            id="broadcast.E010",
        )
    ]


@checks.register("broadcast")
def channel_layer_exists(**kwargs: Any) -> list[checks.CheckMessage]:
    alias, layers = str(conf.CHANNEL_LAYER), channel_layers()
    if not layers or alias in layers:
        return []
    return [
        checks.Error(
            f'CHANNEL_LAYERS has no {alias!r}, which BROADCAST["CHANNEL_LAYER"] says to use.',
            hint=suggestion(alias, layers),
            id="broadcast.E011",
        )
    ]


@checks.register("broadcast")
def asgi_application_is_set(**kwargs: Any) -> list[checks.CheckMessage]:
    if getattr(django_settings, "ASGI_APPLICATION", None):
        return []
    return [
        checks.Warning(
            "ASGI_APPLICATION is not set, and daphne's runserver does not start without it.",
            hint='Set it to the application in your asgi.py, such as "project.asgi.application".',
            id="broadcast.W001",
        )
    ]


@checks.register("broadcast")
def daphne_is_installed(**kwargs: Any) -> list[checks.CheckMessage]:
    if apps.is_installed("daphne"):
        return []
    return [
        checks.Warning(
            "daphne is not in INSTALLED_APPS, so runserver speaks no WebSocket.",
            hint='Put "daphne" first in INSTALLED_APPS.',
            id="broadcast.W002",
        )
    ]


@checks.register("broadcast")
def channel_layer_reaches_other_processes(**kwargs: Any) -> list[checks.CheckMessage]:
    alias = str(conf.CHANNEL_LAYER)
    layer = channel_layers().get(alias)
    backend = layer.get("BACKEND") if isinstance(layer, Mapping) else None
    if django_settings.DEBUG or conf.HINTS_WITHOUT_LAYER or backend != "channels.layers.InMemoryChannelLayer":
        return []
    return [
        checks.Warning(
            f"The channel layer {alias!r} is in memory and HINTS_WITHOUT_LAYER is False: what another process sends "
            f"arrives up to {conf.POLL_INTERVAL} s late, and unlogged messages not at all.",
            hint="Leave it out, use a layer of channels_redis, or silence this if one process does everything.",
            id="broadcast.W003",
        )
    ]


@checks.register("broadcast", checks.Tags.database)
def sqlite_writes_ahead(databases: Iterable[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:
    alias = router.db_for_write(Message)
    if alias not in (databases or ()) or not lacks_write_ahead_log(connections[alias]):
        return []
    return [
        checks.Warning(
            f"The SQLite database {alias!r} has no write-ahead log, so whoever reads the log holds up whoever sends.",
            hint=f'Add "init_command": "PRAGMA journal_mode=WAL" to DATABASES["{alias}"]["OPTIONS"].',
            id="broadcast.W004",
        )
    ]


@checks.register("broadcast")
def static_files_are_of_this_origin(**kwargs: Any) -> list[checks.CheckMessage]:
    origin = urlsplit(django_settings.STATIC_URL or "")
    if not origin.netloc:
        return []
    return [
        checks.Info(
            f"Static files come from another origin ({origin.netloc}). The elements need nothing for that but a "
            "Content-Security-Policy that allows it; the client library, which is a module, needs CORS.",
            hint=f"Allow {origin.netloc} in script-src and style-src if the site has a policy, and have it answer with "
            "Access-Control-Allow-Origin if pages import broadcast/broadcast.js.",
            id="broadcast.I001",
        )
    ]


def channel_layers() -> Mapping[str, Mapping[str, Any]]:
    layers = getattr(django_settings, "CHANNEL_LAYERS", None)
    return layers if isinstance(layers, Mapping) else {}


def lacks_write_ahead_log(connection: BaseDatabaseWrapper) -> bool:
    """True for an SQLite database in a file that is not in WAL mode; false when it cannot be opened."""
    if connection.vendor != "sqlite":
        return False
    try:
        with connection.cursor() as cursor:
            _, _, file = cursor.execute("PRAGMA database_list").fetchone()
            (mode,) = cursor.execute("PRAGMA journal_mode").fetchone()
    except DatabaseFailure:
        return False
    return bool(file) and mode != "wal"
