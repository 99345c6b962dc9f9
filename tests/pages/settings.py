"""The host site with pages of another site's kind, which have the elements in them."""

from pathlib import Path

from project.settings import *  # noqa: F403
from project.settings import MIDDLEWARE, TEMPLATES

ROOT_URLCONF = "tests.pages.urls"
TEMPLATES[0]["DIRS"].insert(0, Path(__file__).parent / "templates")
MIDDLEWARE = [*MIDDLEWARE, "tests.pages.urls.guarded"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # a real one takes its time
STATICFILES_DIRS = [Path(__file__).parent / "static"]
BROADCAST = {
    "GROUPS": {
        "broadcast": {"subscribe": "anyone", "publish": "anyone", "announce": "anyone"},
        "lobby": {"subscribe": "anyone", "publish": "anyone"},
        "desk": {"subscribe": "staff", "publish": "staff"},
    }
}
