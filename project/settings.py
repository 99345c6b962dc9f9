"""The host site's settings.

With no environment at all this is the open demo, for one machine. Each setting that a deployment changes is an
environment variable; the README lists them.
"""

import os
import tempfile
from logging import LogRecord
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent

# Who may come in

DEBUG = env.bool("DEBUG", default=True)
SECRET_KEY = env.str("SECRET_KEY", default="django-insecure-for-development-only" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. With DEBUG off the site needs a long random value of its own in the environment "
        "variable SECRET_KEY."
    )
ALLOWED_HOSTS = [host.strip() for host in env.list("ALLOWED_HOSTS", default=[])]
CSRF_TRUSTED_ORIGINS = [origin.strip() for origin in env.list("CSRF_TRUSTED_ORIGINS", default=[])]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "home"

# With the demo closed, the app's own safe defaults hold.
OPEN_DEMO = env.bool("OPEN_DEMO", default=DEBUG)
BROADCAST: dict[str, Any] = (
    {"GROUPS": {"broadcast": {"subscribe": "anyone", "publish": "anyone", "announce": "anyone"}}} if OPEN_DEMO else {}
)
if env.str("PROXIES", default=""):
    BROADCAST["LIMITS"] = {"PROXIES": env.int("PROXIES")}

# What it is made of

INSTALLED_APPS = [
    "daphne",  # before staticfiles: it replaces runserver
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "broadcast",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "project.static.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
WSGI_APPLICATION = "project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
TIME_ZONE = "UTC"
USE_TZ = True

# Where it keeps things

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": env.db("DATABASE_URL")
    if env.str("DATABASE_URL", default="")
    else {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"] |= {
        "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;", "timeout": 20},
        # A file, because threads share it; one per process, so that two test runs never meet.
        "TEST": {"NAME": Path(tempfile.gettempdir()) / f"broadcast-test-{os.getpid()}.sqlite3"},
    }

REDIS_LAYERS = {
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
}
REDIS_URL = env.list("REDIS_URL", default=[])
REDIS_SENTINEL = env.str("REDIS_SENTINEL", default="")


def found_by_sentinels(name: str, urls: list[str]) -> dict[str, Any]:
    """Where channels_redis asks for the master of that name; what else the first address says is the master's."""
    places = [urlsplit(url) for url in urls]
    first = places[0]
    options = {"username": unquote(first.username or ""), "password": unquote(first.password or "")}
    return {
        "master_name": name,
        "sentinels": [(place.hostname, place.port or 26379) for place in places],
        "db": int(first.path.strip("/") or 0),
        **({"ssl": True} if first.scheme == "rediss" else {}),
        **{key: value for key, value in options.items() if value},
    }


if REDIS_URL:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": REDIS_LAYERS[env.str("REDIS_LAYER", default="pubsub", choices=tuple(REDIS_LAYERS))],
            "CONFIG": {"hosts": [found_by_sentinels(REDIS_SENTINEL, REDIS_URL)] if REDIS_SENTINEL else REDIS_URL},
        }
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# Static files come straight from the apps, so nothing has to be collected first.
STATIC_URL = "static/"
STATIC_ROOT = env.str("STATIC_ROOT", default=None)
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

# What it says


def in_one_line(record: LogRecord) -> bool:
    """Drops the traceback of what any stranger can cause."""
    record.exc_info = None
    return True


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"in_one_line": {"()": lambda: in_one_line}},
    "formatters": {"line": {"format": "{asctime} {levelname:<7} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        # Without handlers of their own: what they say reaches the console once, through the root.
        "broadcast": {"level": env.str("LOG_LEVEL", default="INFO").upper()},
        "daphne": {"level": "INFO"},
        "django": {"level": "INFO"},
        "django.security.DisallowedHost": {"filters": ["in_one_line"], "level": "WARNING"},
    },
}
