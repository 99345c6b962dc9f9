"""`manage.py broadcast doctor`: each thing that can be wrong is said, with the fix, and nothing else is."""

import io
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock
from urllib.parse import urlsplit

import pytest
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels_redis.core import RedisChannelLayer
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.utils import load_backend
from django.urls import re_path

from broadcast.consumers import BroadcastConsumer
from broadcast.diagnostics import doctor, neighbours
from broadcast.diagnostics import probe as probe_websocket
from broadcast.diagnostics.doctor import Finding, examine
from broadcast.engine.hints import postgresql
from broadcast.engine.hints.directories import Place
from broadcast.engine.process import this_process
from broadcast.engine.system import System
from project import asgi  # noqa: F401 (it sets logging up anew, the first time)
from tests.kit.log import unreachable_database
from tests.kit.servers import new_database
from tests.services import Redis
from tests.site import Site

MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    connections.close_all()


@pytest.fixture
def ask(site: Site) -> Callable[..., tuple[int, list[str], str]]:
    """`ask(REDIS_URL=…)` runs the doctor for the host site: its exit status, levels, and all that it said."""

    def asked(**env: str) -> tuple[int, list[str], str]:
        site.env |= env
        done = site.manage("broadcast", "doctor", check=False)
        levels = re.findall(r"^(ok|warning|error) ", done.stdout, re.MULTILINE)
        return done.returncode, levels, done.stdout + done.stderr

    return asked


def found(examination: Callable[[], Iterator[Finding]]) -> Finding:
    """What is found first."""
    return next(iter(examination()))


# The whole, as it is run


def test_the_demo_is_well_and_it_costs_one_message_in_a_group_of_its_own(ask, site):
    status, levels, said = ask()
    assert (status, set(levels)) == (0, {"ok"})
    assert "The message log is in the sqlite database 'default'." in said
    assert "The channel layer is in memory" in said
    assert re.search(rf"by sockets in {site.database}-hints; one takes \d+\.\d+ ms\. .* right now: 0\.", said)
    assert "WebSockets are answered at /ws." in said
    assert "Connections are written to directly." in said
    assert "Static files are found." in said
    assert re.search(r"in the log after \d+\.\d ms and delivered after \d+\.\d ms\.", said)
    assert "Traceback" not in said
    assert "Warning" not in said
    with closing(sqlite3.connect(site.database)) as database:
        rows = database.execute("SELECT group_name, author FROM broadcast_message").fetchall()
    assert rows == [("broadcast-doctor", "Doctor")]


def test_warnings_leave_the_status_alone(ask):
    status, levels, said = ask(DEBUG="off", SECRET_KEY="of the tests", ALLOWED_HOSTS="example.com", OPEN_DEMO="on")
    assert (status, sorted(set(levels))) == (0, ["ok", "warning"])
    assert said.count("(broadcast.W005)") == 2


def test_tables_that_are_missing_are_told_with_what_to_run(ask, site, tmp_path):
    """Those of other apps too."""
    site.env["DATABASE_URL"] = f"sqlite:///{tmp_path}/empty.sqlite3"
    status, levels, said = ask()
    assert status == 1
    assert re.search(r"Migrations are pending: of .*broadcast.*\.", said)
    assert "Run: python manage.py migrate" in said
    assert levels.count("error") == 2  # a message cannot be logged either
    assert "CommandError: 2 things are wrong." in said
    assert "Traceback" not in said
    site.manage("migrate", "broadcast", "--verbosity", "0")
    status, levels, said = ask()
    assert (status, levels.count("error")) == (1, 1)
    assert "Migrations are pending: of admin, auth, contenttypes, sessions." in said


def test_a_postgresql_and_a_redis_that_run(ask, postgres_server, redis_server):
    database = new_database(postgres_server, "well")
    for layer in ("pubsub", "core"):
        status, levels, said = ask(DATABASE_URL=database, REDIS_URL=redis_server.url, REDIS_LAYER=layer)
        assert (status, set(levels)) == (0, {"ok"})
        assert "The message log is in the postgresql database 'default'." in said
        assert "The clocks of this machine and the database agree." in said
        assert re.search(r"The channel layer carries an event in \d+\.\d ms\.", said)
        assert "Traceback" not in said


def test_a_redis_that_does_not_run(ask):
    status, levels, said = ask(REDIS_URL="redis://127.0.0.1:1/0")
    assert (status, levels.count("error")) == (1, 1)
    assert "The channel layer cannot be reached: " in said
    assert "See that Redis runs and that CHANNEL_LAYERS names it." in said
    assert re.search(r"delivered after \d", said)  # all the same
    assert "One thing is wrong." in said
    assert "Traceback" not in said


def test_a_redis_that_hangs(tmp_path, monkeypatch, settings):
    monkeypatch.setattr(doctor, "PATIENCE", 0.2)
    redis = Redis(tmp_path)
    redis.start()
    try:
        redis.pause()
        backend = "channels_redis.pubsub.RedisPubSubChannelLayer"
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": {"hosts": [redis.url]}}}
        finding = found(doctor.layer)
        assert (finding.level, finding.text) == ("error", "The channel layer cannot be reached: TimeoutError.")
    finally:
        redis.resume()
        redis.kill()


# The system checks


def test_what_the_system_checks_find_is_said(settings, monkeypatch):
    monkeypatch.setattr(doctor, "alias", lambda: "another")
    settings.BROADCAST = {"MAX_BODDY": 1, "GROUPS": {"lobby": {"publish": "anyone"}}}
    settings.CHANNEL_LAYERS, settings.DEBUG = MEMORY, False
    settings.SILENCED_SYSTEM_CHECKS = ["broadcast.W003"]
    findings = sorted(doctor.system_checks(), key=lambda finding: finding.level)
    assert [finding.level for finding in findings] == ["error", "warning"]
    assert findings[0].text == "BROADCAST has no setting 'MAX_BODDY'. (broadcast.E002)"
    assert findings[0].fix == "Did you mean 'MAX_BODY'?"
    assert findings[1].text.endswith("(broadcast.W005)")


def test_a_site_with_errors_is_looked_at_and_its_database_too(site):
    with closing(sqlite3.connect(site.database)) as database:
        database.execute("PRAGMA journal_mode=DELETE")
    done = site.manage("shell", "-v", "0", "-c", WRONG, check=False)
    assert "broadcast.W004" in done.stdout
    assert "broadcast.E002" in done.stdout
    assert "delivered after" in done.stdout


WRONG = """
from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import connection
connection.settings_dict["OPTIONS"].pop("init_command")
connection.close()
settings.BROADCAST = {"TYPO": 1}
execute_from_command_line(["manage.py", "broadcast", "doctor"])
"""


# The log


def test_a_database_that_may_not_be_used():
    """As in a test without the mark."""
    finding, trip = found(doctor.log), found(doctor.round_trip)
    assert (finding.level, trip.level) == ("error", "error")
    assert "There is no message log" in finding.text
    assert "migrate" in finding.fix
    assert "log" in trip.text
    assert list(doctor.clock()) == []


def test_a_database_that_cannot_be_reached(transactional_db):
    with unreachable_database():
        finding, trip = found(doctor.log), found(doctor.round_trip)
        assert list(doctor.clock()) == []
    assert (finding.level, trip.level) == ("error", "error")
    assert finding.text.startswith("The message log cannot be reached: ")
    assert finding.fix == "See that the database runs and that DATABASES names it."


# The clock


@pytest.mark.parametrize(("differs", "level"), [(0, "ok"), (60, "warning"), (-60, "warning")])
def test_the_clocks_are_compared(monkeypatch, differs, level):
    elsewhere = MagicMock(vendor="postgresql")
    elsewhere.cursor().__enter__().fetchone.return_value = (Decimal(time.time() + differs),)
    monkeypatch.setattr(doctor, "log_access", lambda: nullcontext(elsewhere))
    finding = found(doctor.clock)
    assert finding.level == level
    assert ("differ by" in finding.text) == (level == "warning")


def test_the_clock_of_a_file_is_that_of_the_machine(monkeypatch):
    monkeypatch.setattr(doctor, "log_access", lambda: nullcontext(MagicMock(vendor="sqlite")))
    assert list(doctor.clock()) == []


# The layer


def test_without_a_layer_hints_travel_by_other_ways(settings, monkeypatch, tmp_path):
    settings.CHANNEL_LAYERS, settings.BROADCAST = {}, {}
    place = Place(f"{tmp_path}/hints", frozenset({os.getuid()}), 0o700, (os.getuid(), os.getgid()))
    monkeypatch.setattr(neighbours, "places", lambda: [place])
    layer, sockets = doctor.layer()
    assert (layer.text, sockets.level) == ("There is no channel layer.", "ok")
    assert f"by sockets in {tmp_path}/hints; one takes " in sockets.text
    assert not Path(place.path).exists()
    Path(place.path).symlink_to(tmp_path)
    _, sockets = doctor.layer()
    assert (sockets.level, "is not to be trusted" in sockets.text) == ("warning", True)
    settings.BROADCAST = {"HINTS_WITHOUT_LAYER": False}
    _, off = doctor.layer()
    assert (off.level, "up to 1 s later" in off.text) == ("warning", True)


def test_containers_do_not_share_a_directory(monkeypatch, tmp_path):
    place = Place(f"{tmp_path}/hints", frozenset({os.getuid()}), 0o700, (os.getuid(), os.getgid()))
    monkeypatch.setattr(neighbours, "places", lambda: [place])
    monkeypatch.setattr(neighbours, "connections", {"default": SimpleNamespace(vendor="mysql")})
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert [finding.level for finding in neighbours.neighbours()] == ["ok", "warning"]


@pytest.mark.parametrize("is_behind_pooler", [False, True])
def test_notify_is_timed_unless_a_pooler_is_between(postgres_server, monkeypatch, django_db_blocker, is_behind_pooler):
    address = urlsplit(new_database(postgres_server, "doctor"))
    database = connections["default"].settings_dict | {"ENGINE": "django.db.backends.postgresql", "OPTIONS": {}}
    place = {"NAME": address.path[1:], "HOST": address.hostname, "PORT": address.port, "USER": address.username}
    wrapper = load_backend("django.db.backends.postgresql").DatabaseWrapper(database | place, "default")
    for module in (neighbours, postgresql):
        monkeypatch.setattr(module, "connections", {"default": wrapper})
    if is_behind_pooler:
        monkeypatch.setattr("psycopg.ConnectionInfo.backend_pid", 4711)
    with django_db_blocker.unblock():
        (finding,) = neighbours.by_notify()
    assert finding.level == ("warning" if is_behind_pooler else "ok")
    assert ("pooler" if is_behind_pooler else "by NOTIFY; one takes ") in finding.text


def test_where_threads_are_greenlets(settings, monkeypatch):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer"}}
    monkeypatch.setattr(this_process, "system", System(greenlet_library=lambda: "gevent"))
    finding = found(doctor.layer)
    assert finding.level == "warning"
    assert finding.text.startswith("gevent has made greenlets of this process's threads")


def test_a_layer_that_cannot_be_made(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.kit.layers.Unmade"}}
    finding = found(doctor.layer)
    assert (finding.level, finding.text) == ("error", "The channel layer cannot be made: no hosts.")


def test_limits_that_lose_hints():
    tight = SimpleNamespace(capacity=5, expiry=1, group_expiry=10)
    assert [(finding.level, finding.fix) for finding in doctor.limits(tight)] == [
        ("warning", 'Set "capacity" in CHANNEL_LAYERS to 100 or more.'),
        ("warning", 'Set "expiry" in CHANNEL_LAYERS to 10 or more.'),
        ("warning", 'Set "group_expiry" in CHANNEL_LAYERS to 60 or more.'),
    ]
    (finding,) = doctor.limits(RedisChannelLayer(channel_capacity={"http*": 5, "specific*": 20}))
    assert finding.text.startswith("The channel layer's channel_capacity is 20: ")
    for ample in (SimpleNamespace(capacity=100, expiry=60), RedisChannelLayer(channel_capacity={"http*": 5})):
        assert list(doctor.limits(ample)) == []


# The application


async def refusing(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.close"})


async def another(scope: Any, receive: Any, send: Any) -> None:
    """A WebSocket of the site's own."""
    await receive()
    await send({"type": "websocket.accept"})


async def silent(scope: Any, receive: Any, send: Any) -> None:
    return


async def failing(scope: Any, receive: Any, send: Any) -> None:
    raise ValueError("no route")


async def hanging(scope: Any, receive: Any, send: Any) -> None:
    while True:
        await receive()


def guarded() -> Any:
    """As in the tutorial of Channels: behind a check of the origin."""
    routes = [re_path(r"^ws$", BroadcastConsumer.as_asgi()), re_path(r"", refusing)]  # type: ignore[arg-type]
    return ProtocolTypeRouter({"websocket": AllowedHostsOriginValidator(URLRouter(routes))})


@pytest.fixture
def answering(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site's application is ``guarded``."""
    monkeypatch.setattr(doctor, "get_default_application", guarded)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tests.test_doctor.refusing", "at /ws are refused."),
        ("tests.test_doctor.silent", "at /ws are refused."),
        ("tests.test_doctor.failing", "at /ws: ValueError('no route')"),
        ("tests.test_doctor.hanging", "at /ws are refused."),
        ("no.such.module", "no.such"),
        ("tests.test_doctor.missing", "tests.test_doctor"),
    ],
)
def test_an_application_that_does_not_answer(settings, monkeypatch, name, said):
    monkeypatch.setattr(probe_websocket, "PATIENCE", 0.2)
    settings.ASGI_APPLICATION = name
    finding = found(doctor.application)
    assert finding.level == "error"
    assert said in finding.text
    assert finding.fix


def test_nothing_is_said_of_no_application_and_little_of_another_apps_answer(settings):
    settings.ASGI_APPLICATION = None
    assert list(doctor.application()) == []
    settings.ASGI_APPLICATION = "tests.test_doctor.another"
    (answered,) = doctor.application()
    assert answered.level == "ok"


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize("hosts", [[], ["*"], ["example.com"], [".example.com", "other.example"]])
def test_an_application_that_checks_the_origin(settings, hosts):
    settings.ALLOWED_HOSTS, settings.DEBUG = hosts, not hosts
    answered = found(doctor.application)
    assert (answered.level, answered.text) == ("ok", "WebSockets are answered at /ws.")
    settings.BROADCAST = {"SOCKET_PATH": "/elsewhere"}
    refused = found(doctor.application)
    assert (refused.level, refused.text) == ("error", "WebSockets at /elsewhere are refused.")
    assert "set SOCKET_PATH" in refused.fix


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize(
    ("direct", "daphne", "text"),
    [
        (True, True, "Connections are written to directly."),
        (False, True, ": DIRECT_WRITES is False."),
        (True, False, ": neither daphne nor uvicorn is installed."),
    ],
)
def test_which_way_is_written(settings, monkeypatch, direct, daphne, text):
    monkeypatch.setattr(doctor, "find_spec", lambda name: daphne or None)
    settings.BROADCAST = {"DIRECT_WRITES": direct}
    _, written = doctor.application()
    assert (written.level, written.fix) == ("ok", "")
    assert text in written.text


def timed(send: Any) -> Any:
    """A closure around ``send``."""

    async def timed_send(event: Any) -> None:
        await send(event)

    return timed_send


class Counted:
    """An object around ``send``."""

    def __init__(self, send: Any) -> None:
        self.send = send

    async def __call__(self, event: Any) -> None:
        await self.send(event)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("wrap", "name"), [(timed, "timed.<locals>.timed_send"), (Counted, "Counted")])
def test_middleware_that_keeps_it_from_being_written_directly(settings, monkeypatch, wrap, name):
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await guarded()(scope, receive, wrap(send))

    monkeypatch.setattr(doctor, "get_default_application", lambda: application)
    _, written = doctor.application()
    assert written.level == "warning"
    assert written.text.endswith(f": the site's middleware wraps send in tests.test_doctor.{name}.")
    assert "set DIRECT_WRITES to False" in written.fix
    settings.BROADCAST = {"DIRECT_WRITES": False}
    assert [finding.level for finding in doctor.application()] == ["ok", "ok"]


# Static files


def test_static_files_that_django_does_not_find(settings):
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    finding = found(doctor.static_files)
    assert finding.level == "error"
    assert "AppDirectoriesFinder" in finding.fix
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django.contrib.staticfiles"]
    assert found(doctor.static_files).level == "warning"


@pytest.mark.parametrize("root", [None, "empty", "full"])
def test_static_files_that_nothing_serves(settings, tmp_path: Path, root):
    settings.DEBUG, settings.MIDDLEWARE = False, []
    settings.STATIC_ROOT = str(tmp_path / root) if root else None
    if root == "full":
        call_command("collectstatic", verbosity=0, interactive=False)
    finding = found(doctor.static_files)
    assert finding.level == ("ok" if root == "full" else "warning")
    assert ("collectstatic" in finding.fix) == (root != "full")


def test_static_files_that_are_kept_by_their_hashed_names_alone(settings, tmp_path: Path):
    settings.DEBUG, settings.MIDDLEWARE, settings.STATIC_ROOT = False, [], str(tmp_path)
    hashed = {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": hashed}
    settings.WHITENOISE_KEEP_ONLY_HASHED_FILES = True
    assert found(doctor.static_files).level == "warning"
    call_command("collectstatic", verbosity=0, interactive=False)
    assert not (tmp_path / doctor.STATIC_FILE).exists()
    assert found(doctor.static_files).level == "ok"


@pytest.mark.parametrize(("finders", "level"), [(True, "ok"), (False, "warning")])
def test_static_files_that_whitenoise_serves(settings, tmp_path: Path, finders, level):
    settings.DEBUG, settings.MIDDLEWARE = False, ["whitenoise.middleware.WhiteNoiseMiddleware"]
    settings.WHITENOISE_USE_FINDERS, settings.STATIC_ROOT = finders, str(tmp_path)
    assert found(doctor.static_files).level == level


# The round trip


@pytest.mark.django_db(transaction=True)
def test_a_message_that_never_arrives(monkeypatch):
    monkeypatch.setattr(doctor, "PATIENCE", 0.2)
    monkeypatch.setattr(doctor.Listener, "notify", lambda self: None)
    finding = found(doctor.round_trip)
    assert finding.level == "error"
    assert "did not make it through log and hub: TimeoutError" in finding.text


# What is printed


def test_a_finding_is_a_line_and_its_fix_another(monkeypatch):
    findings = [Finding("ok", "Fine."), Finding("warning", "Hm.", "Do."), Finding("error", "No.", "Undo.")]
    monkeypatch.setattr("broadcast.management.commands.broadcast.examine", lambda: iter(findings))
    out = io.StringIO()
    with pytest.raises(CommandError, match=r"^One thing is wrong\.$"):
        call_command("broadcast", "doctor", stdout=out, no_color=True)
    lines = ["ok       Fine.", "warning  Hm.", "         Do.", "error    No.", "         Undo."]
    assert out.getvalue().splitlines() == lines


@pytest.mark.parametrize(("level", "found"), [("WARNING", "ok"), ("ERROR", "warning")])
def test_refusals_that_nobody_would_read(caplog, settings, level, found):
    settings.BROADCAST = {}
    caplog.set_level(level, "broadcast")
    (finding,) = doctor.refusals()
    assert (finding.level, "perm:broadcast.add_message" in finding.text) == (found, found == "ok")


def test_what_fails_is_a_finding_and_the_rest_is_looked_at_all_the_same(monkeypatch):
    def clock() -> Iterator[Finding]:
        raise ValueError("no hands")

    well = lambda: iter([Finding("ok", "Fine.")])  # noqa: E731
    for name in ("system_checks", "refusals", "log", "layer", "visitors", "application", "static_files", "round_trip"):
        monkeypatch.setattr(doctor, name, well)
    monkeypatch.setattr(doctor, "clock", clock)
    findings = list(examine())
    assert [finding.level for finding in findings] == ["ok", "ok", "ok", "error", "ok", "ok", "ok", "ok", "ok"]
    assert findings[3].text == "Looking at the clock failed: ValueError('no hands')."


@pytest.mark.django_db(transaction=True)
def test_nothing_is_logged_meanwhile_and_everything_afterwards(caplog):
    list(examine())
    assert caplog.records == []
    logging.getLogger("broadcast").warning("Hm.")
    assert len(caplog.records) == 1
