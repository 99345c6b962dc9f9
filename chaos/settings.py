"""The host site under chaos: more groups, nothing pruned, an unreliable channel layer and database."""

import os

from chaos import GROUPS
from project.settings import *  # noqa: F403
from project.settings import CHANNEL_LAYERS, DATABASES

CHAOS_SEED = os.environ["CHAOS_SEED"]
CHAOS_TALLY = os.environ["CHAOS_TALLY"]
CHAOS_COMMIT_FAULTS = float(os.environ["CHAOS_COMMIT_FAULTS"])
# Whether publishers send as the Channels tutorial does, and not by this app.
CHAOS_TUTORIAL = os.environ["CHAOS_TUTORIAL"] == "on"

ROOT_URLCONF = "chaos.urls"
BROADCAST = {
    "GROUPS": {name: dict.fromkeys(("subscribe", "publish", "announce"), "anyone") for name in GROUPS},
    "KEEP_MESSAGES": None,
    "KEEP_SECONDS": None,
    "PING_INTERVAL": 10,
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "chaos.layer.UnreliableLayer",
        "CONFIG": {
            "layer": CHANNEL_LAYERS["default"]["BACKEND"],
            "share": float(os.environ["CHAOS_HINT_FAULTS"]),
            "seed": CHAOS_SEED,
            "tally": CHAOS_TALLY,
            **CHANNEL_LAYERS["default"].get("CONFIG", {}),
        },
    }
}
DATABASES = {"default": DATABASES["default"] | {"ENGINE": "chaos.database"}}
