"""The host site under abuse: closed as in production, with groups that guests may write to or only read."""

from typing import Any

from abuse import ARCHIVE, HALL, PIT, READ_ONLY
from project.settings import *  # noqa: F403

BROADCAST: dict[str, Any] = {  # type: ignore[no-redef]
    "GROUPS": {
        **{group: {"subscribe": "anyone", "publish": "anyone"} for group in (HALL, PIT)},
        **{group: {"subscribe": "anyone"} for group in (ARCHIVE, f"{READ_ONLY}.*")},
    },
    "LIMITS": {"PROXIES": 1},  # each client says its own address, as a proxy would
}
