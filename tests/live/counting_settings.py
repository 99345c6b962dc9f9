"""The host site, which counts statements."""

from project.settings import *  # noqa: F403

ROOT_URLCONF = "tests.live.counting"
