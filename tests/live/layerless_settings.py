"""The host site without any channel layer."""

from tests.live.host_settings import *  # noqa: F403

CHANNEL_LAYERS: dict[str, object] = {}
