"""The host site with pages whose scripts are bundles of frameworks, and pages with other people's style sheets."""

import os
from pathlib import Path

from project.settings import *  # noqa: F403
from project.settings import TEMPLATES

ROOT_URLCONF = "tests.frameworks.urls"
TEMPLATES[0]["DIRS"].insert(0, Path(__file__).parent / "templates")
# Where a test puts what it bundled, and what it found in node_modules.
STATICFILES_DIRS = [os.environ["FOREIGN_FILES"]]
BROADCAST = {
    "GROUPS": {"broadcast": {"subscribe": "anyone", "publish": "anyone"}},
    "POLICY": "tests.frameworks.urls.may",
    # Nobody mounts an element a thousand times a minute but a test that looks for leaks.
    "LIMITS": {"MESSAGE_RATE": 100_000, "MESSAGE_BURST": 100_000, "SUBSCRIBE_RATE": 100_000},
}
