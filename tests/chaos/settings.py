"""The host site under chaos: more groups, nothing pruned, and a channel layer that cannot be relied upon."""

import os

from project.settings import *  # noqa: F403
from project.settings import CHANNEL_LAYERS
from tests.chaos import GROUPS

ROOT_URLCONF = "tests.chaos.urls"
BROADCAST = {
    "GROUPS": {name: dict.fromkeys(("subscribe", "publish", "announce"), "anyone") for name in GROUPS},
    "KEEP_MESSAGES": None,
    "KEEP_SECONDS": None,
    "PING_INTERVAL": 10,
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "tests.chaos.layer.UnreliableLayer",
        "CONFIG": {
            "layer": CHANNEL_LAYERS["default"]["BACKEND"],
            "share": float(os.environ["CHAOS_HINT_FAULTS"]),
            "seed": os.environ["CHAOS_SEED"],
            "tally": os.environ["CHAOS_TALLY"],
            **CHANNEL_LAYERS["default"]["CONFIG"],
        },
    }
}

# Whether publishers send as the Channels tutorial does, and not by this app.
CHAOS_TUTORIAL = os.environ["CHAOS_TUTORIAL"] == "on"
