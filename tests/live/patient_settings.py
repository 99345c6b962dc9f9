"""The host site whose hubs hardly ever look into the log: what arrives has come by a hint."""

from project.settings import *  # noqa: F403
from project.settings import BROADCAST as GIVEN

BROADCAST = {**GIVEN, "POLL_INTERVAL": 3600}
