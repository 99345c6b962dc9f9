"""The host site with the log in a database of its own, by a router that says nothing of other models."""

from typing import Any

from project.settings import DATABASES, env
from tests.live.host_settings import *  # noqa: F403

DATABASES = {**DATABASES, "log": {**DATABASES["default"], **env.db("LOG_URL")}}
DATABASE_ROUTERS = ["tests.live.two_databases_settings.LogRouter"]


class LogRouter:
    """As in Django's docs: one app's models are elsewhere."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return "log" if model._meta.app_label == "broadcast" else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return (db == "log") == (app_label == "broadcast")
