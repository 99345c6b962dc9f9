"""The host site under chaos: more groups, some of them pruned, an unreliable channel layer and database."""

import os
from typing import Any

from chaos import GROUPS
from project.settings import *  # noqa: F403
from project.settings import CHANNEL_LAYERS, DATABASES

CHAOS_SEED = os.environ["CHAOS_SEED"]
CHAOS_TALLY = os.environ["CHAOS_TALLY"]
CHAOS_COMMIT_FAULTS = float(os.environ["CHAOS_COMMIT_FAULTS"])
CHAOS_HINT_FAULTS = float(os.environ["CHAOS_HINT_FAULTS"])
CHAOS_LAYER = os.environ["CHAOS_LAYER"]
# Whether publishers send as the Channels tutorial does, and not by this app.
CHAOS_TUTORIAL = os.environ["CHAOS_TUTORIAL"] == "on"

OPEN: dict[str, Any] = dict.fromkeys(("subscribe", "publish", "announce"), "anyone")
# Short enough that clients come back to what is gone.
RETENTION: dict[str, dict[str, int]] = {"games": {"keep_messages": 300}, "desk": {"keep_seconds": 15}}

ROOT_URLCONF = "chaos.urls"
BROADCAST: dict[str, Any] = {  # type: ignore[no-redef]
    "GROUPS": {name: OPEN | RETENTION.get(name, {}) for name in GROUPS},
    "KEEP_MESSAGES": None,
    "KEEP_SECONDS": None,
    "PING_INTERVAL": 10,
}
SITE_LAYER: dict[str, Any] = {**CHANNEL_LAYERS["default"]}
CHANNEL_LAYERS: dict[str, Any] = {  # type: ignore[no-redef]
    "default": {
        "BACKEND": "chaos.layer.UnreliableLayer",
        "CONFIG": {
            "layer": SITE_LAYER["BACKEND"],
            "share": CHAOS_HINT_FAULTS,
            "seed": CHAOS_SEED,
            "tally": CHAOS_TALLY,
            **SITE_LAYER.get("CONFIG", {}),
        },
    }
}
if CHAOS_LAYER == "none":
    CHANNEL_LAYERS = {}
DATABASES = {"default": DATABASES["default"] | {"ENGINE": "chaos.database"}}
