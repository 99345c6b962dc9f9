"""A site with the elements in its pages; the environment says by what policy, and from where its static files come."""

import os
from pathlib import Path

from project.settings import *  # noqa: F403
from project.settings import MIDDLEWARE, STATIC_ROOT, TEMPLATES
from tests.site import ROOT

ROOT_URLCONF = "tests.browser.delivery_site"
MIDDLEWARE = [*MIDDLEWARE, "tests.browser.delivery_site.guarded"]
TEMPLATES[0]["OPTIONS"]["context_processors"].append("tests.browser.delivery_site.nonce")
ANYONE = {"subscribe": "anyone", "publish": "anyone", "announce": "anyone"}
BROADCAST = {"GROUPS": dict.fromkeys(("broadcast", "news", "lobby"), ANYONE)}

STATIC_URL = os.environ.get("STATIC_URL", "static/")
WHITENOISE_MAX_AGE = 60  # as without DEBUG
if STATIC_ROOT:  # as in production: under hashed names, which browsers keep for years
    STATICFILES_DIRS = [Path(os.environ.get("STATIC_FILES", ROOT / "broadcast" / "static"))]
    STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    STORAGES = {"staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}}
    WHITENOISE_USE_FINDERS = False
