"""The host site with pages that its users wrote, whatever they wrote, and an address that leads anywhere."""

from project.settings import *  # noqa: F403
from project.settings import DATABASES

DATABASES["default"]["OPTIONS"]["transaction_mode"] = "IMMEDIATE"
ROOT_URLCONF = "tests.browser.cross_site"
