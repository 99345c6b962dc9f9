"""The host site without any channel layer."""

from project.settings import *  # noqa: F403

CHANNEL_LAYERS: dict[str, object] = {}
