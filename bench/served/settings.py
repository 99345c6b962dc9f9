"""The host site as it is measured: open groups, and limits that a load from one address does not meet."""

import json
import os
from typing import Any

from project.settings import *  # noqa: F403

ROOT_URLCONF = "bench.served.urls"

OPEN = dict.fromkeys(("subscribe", "publish", "announce"), "anyone")

OPEN_GROUPS = {"broadcast": OPEN, "bench.*": OPEN}
NO_LIMITS: dict[str, Any] = {"MESSAGE_RATE": 1_000_000, "MESSAGE_BURST": 1_000_000, "STALLED_TIMEOUT": 3600}

BROADCAST: dict[str, Any] = {"GROUPS": OPEN_GROUPS}  # type: ignore[no-redef]
if "BENCH_PRODUCT_LIMITS" not in os.environ:
    BROADCAST |= NO_LIMITS
BROADCAST |= json.loads(os.environ.get("BENCH_BROADCAST", "{}"))
