"""The host site with addresses of the tests' own, and `BROADCAST` as the environment says, in JSON."""

import json
import os

from project.settings import *  # noqa: F403
from project.settings import BROADCAST

BROADCAST = {**BROADCAST, **json.loads(os.environ.get("BROADCAST", "{}"))}
ROOT_URLCONF = "tests.live.host"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
