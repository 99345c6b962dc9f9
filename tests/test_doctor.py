"""`manage.py broadcast doctor`: each thing that can be wrong is said, with the fix, and nothing else is."""

import io
import logging
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels_redis.core import RedisChannelLayer
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.urls import re_path

from broadcast import pytest_plugin
from broadcast.consumers import BroadcastConsumer
from broadcast.diagnostics import doctor
from broadcast.diagnostics import probe as probe_websocket
from broadcast.diagnostics.doctor import Finding, examine
from broadcast.exceptions import LogUnavailable
from tests.live.fleet import new_database
from tests.services import Redis
from tests.site import Site

broadcasts = pytest_plugin.broadcasts  # which pytest knows by itself where the package is installed

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
        return (
            done.returncode,
            re.findall(r"^(ok|warning|error) ", done.stdout, re.MULTILINE),
            done.stdout + done.stderr,
        )

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
    status, levels, said = ask(DEBUG="off", SECRET_KEY="of the tests", ALLOWED_HOSTS="example.com")
    assert (status, sorted(set(levels))) == (0, ["ok", "warning"])
    assert "The channel layer 'default' is in memory: what another process sends" in said
    assert said.count("(broadcast.W003)") == 1


def test_before_migrate_it_is_wrong_and_says_what_to_run(ask, tmp_path):
    status, levels, said = ask(DATABASE_URL=f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    assert status == 1
    assert re.search(r"Migrations are pending: of .*broadcast.*\.", said)
    assert "Run: python manage.py migrate" in said
    assert levels.count("error") == 2  # a message cannot be logged either
    assert "CommandError: 2 things are wrong." in said
    assert "Traceback" not in said


def test_tables_of_other_apps_are_looked_for_too(ask, site, tmp_path):
    site.env["DATABASE_URL"] = f"sqlite:///{tmp_path}/half.sqlite3"
    site.manage("migrate", "broadcast", "--verbosity", "0")
    status, levels, said = ask()
    assert status == 1
    assert levels.count("error") == 1
    assert "Migrations are pending: of admin, auth, contenttypes, sessions." in said
    assert "Run: python manage.py migrate" in said


def test_a_database_that_cannot_be_opened(ask, tmp_path):
    status, _, said = ask(DATABASE_URL=f"sqlite:///{tmp_path / 'nowhere' / 'db.sqlite3'}")
    assert status == 1
    assert "unable to open database file" in said
    assert "See that the database runs and that DATABASES names it." in said
    assert "Traceback" not in said


def test_a_redis_that_runs(ask, redis_server):
    for layer in ("pubsub", "core"):
        status, levels, said = ask(REDIS_URL=redis_server.url, REDIS_LAYER=layer)
        assert (status, set(levels)) == (0, {"ok"})
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


def test_a_postgresql_that_runs(ask, postgres_server):
    status, levels, said = ask(DATABASE_URL=new_database(postgres_server, "well"))
    assert (status, set(levels)) == (0, {"ok"})
    assert "The message log is in the postgresql database 'default'." in said
    assert "The clocks of this machine and the database agree." in said


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
    finding = found(doctor.log)
    assert finding.level == "error"
    assert "There is no message log" in finding.text
    assert "migrate" in finding.fix
    assert list(doctor.clock()) == []


def test_a_log_that_fails(monkeypatch):
    def failing() -> Any:
        raise LogUnavailable("The message log cannot be reached: gone")

    monkeypatch.setattr(doctor, "log_access", failing)
    finding = found(doctor.log)
    assert (finding.level, finding.text) == ("error", "The message log cannot be reached: gone")
    assert list(doctor.clock()) == []


# The clock


class Elsewhere:
    """A database on another machine, whose clock differs."""

    vendor = "postgresql"

    def __init__(self, differs: float) -> None:
        self.now = Decimal(time.time() + differs)

    def __enter__(self) -> "Elsewhere":
        return self

    def __exit__(self, *error: object) -> None: ...

    def cursor(self) -> "Elsewhere":
        return self

    def execute(self, sql: str) -> None: ...

    def fetchone(self) -> tuple[Decimal]:
        return (self.now,)


@pytest.mark.parametrize(("differs", "level"), [(0, "ok"), (60, "warning"), (-60, "warning")])
def test_the_clocks_are_compared(monkeypatch, differs, level):
    monkeypatch.setattr(doctor, "log_access", lambda: Elsewhere(differs))
    finding = found(doctor.clock)
    assert finding.level == level
    assert ("differ by" in finding.text) == (level == "warning")


@pytest.mark.django_db
def test_the_clock_of_a_file_is_that_of_the_machine():
    if connection.vendor != "sqlite":
        pytest.skip("Only SQLite has none")
    assert list(doctor.clock()) == []


# The layer


@pytest.mark.parametrize(("debug", "level"), [(True, "ok"), (False, "warning")])
def test_no_layer(settings, debug, level):
    settings.CHANNEL_LAYERS, settings.DEBUG = {}, debug
    finding = found(doctor.layer)
    assert finding.level == level
    assert finding.text.startswith("There is no channel layer")
    assert "up to 1 s later" in finding.text


def test_a_layer_that_cannot_be_made(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.kit.layers.Unmade"}}
    finding = found(doctor.layer)
    assert (finding.level, finding.text) == ("error", "The channel layer cannot be made: no hosts.")


def test_limits_that_lose_hints():
    tight = SimpleNamespace(capacity=5, expiry=1, group_expiry=10)
    findings = list(doctor.limits(tight))
    assert [finding.level for finding in findings] == ["warning"] * 3
    assert [finding.fix for finding in findings] == [
        'Set "capacity" in CHANNEL_LAYERS to 100 or more.',
        'Set "expiry" in CHANNEL_LAYERS to 10 or more.',
        'Set "group_expiry" in CHANNEL_LAYERS to 60 or more.',
    ]
    assert list(doctor.limits(SimpleNamespace(capacity=100, expiry=60))) == []


def test_a_limit_of_some_channels():
    layer = RedisChannelLayer(channel_capacity={"http*": 5, "specific*": 20})
    (finding,) = doctor.limits(layer)
    assert finding.text.startswith("The channel layer's channel_capacity is 20: ")
    assert list(doctor.limits(RedisChannelLayer(channel_capacity={"http*": 5}))) == []


# The application


async def refusing(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.close"})


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


@pytest.mark.parametrize("name", ["refusing", "silent", "failing", "hanging"])
def test_an_application_that_does_not_answer(settings, monkeypatch, name):
    monkeypatch.setattr(probe_websocket, "PATIENCE", 0.2)
    settings.ASGI_APPLICATION = f"tests.test_doctor.{name}"
    finding = found(doctor.application)
    assert finding.level == "error"
    assert "/ws" in finding.text
    assert finding.fix


@pytest.mark.parametrize("name", ["no.such.module", "tests.test_doctor.missing"])
def test_no_application(settings, name):
    settings.ASGI_APPLICATION = name
    finding = found(doctor.application)
    assert finding.level == "error"
    assert name.rpartition(".")[0] in finding.text


def test_an_application_that_is_not_set_is_told_by_the_system_check_alone(settings):
    settings.ASGI_APPLICATION = None
    assert list(doctor.application()) == []


@pytest.mark.django_db(transaction=True)
def test_a_path_where_nobody_answers(settings, monkeypatch):
    monkeypatch.setattr(doctor, "get_default_application", guarded)
    settings.BROADCAST = {"SOCKET_PATH": "/elsewhere"}
    finding = found(doctor.application)
    assert (finding.level, finding.text) == ("error", "WebSockets at /elsewhere are refused.")
    assert "set SOCKET_PATH" in finding.fix


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("hosts", [[], ["*"], ["example.com"], [".example.com", "other.example"]])
def test_an_application_that_checks_the_origin(settings, monkeypatch, hosts):
    settings.ALLOWED_HOSTS, settings.DEBUG = hosts, not hosts
    monkeypatch.setattr(doctor, "get_default_application", guarded)
    answered = found(doctor.application)
    assert (answered.level, answered.text) == ("ok", "WebSockets are answered at /ws.")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("direct", "text"), [(True, "Connections are written to directly."), (False, ": DIRECT_WRITES is False.")]
)
def test_which_way_is_written(settings, monkeypatch, direct, text):
    monkeypatch.setattr(doctor, "get_default_application", guarded)
    settings.BROADCAST = {"DIRECT_WRITES": direct}
    _, written = doctor.application()
    assert (written.level, written.fix) == ("ok", "")
    assert text in written.text


@pytest.mark.django_db(transaction=True)
def test_without_daphne_nothing_is_written_directly(monkeypatch):
    monkeypatch.setattr(doctor, "get_default_application", guarded)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    _, written = doctor.application()
    assert written.text.endswith(": daphne is not installed.")


def timed(application: Any) -> Any:
    """Middleware that wraps ``send`` in a closure."""

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        async def timed_send(event: Any) -> None:
            await send(event)

        await application(scope, receive, timed_send)

    return outer


class Counting:
    """Middleware that wraps ``send`` in an object."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.application(scope, receive, CountedSend(send))


class CountedSend:
    def __init__(self, send: Any) -> None:
        self.send = send

    async def __call__(self, event: Any) -> None:
        await self.send(event)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("middleware", "name"), [(timed, "timed.<locals>.outer.<locals>.timed_send"), (Counting, "CountedSend")]
)
def test_middleware_that_keeps_it_from_being_written_directly(settings, monkeypatch, middleware, name):
    monkeypatch.setattr(doctor, "get_default_application", lambda: middleware(guarded()))
    _, written = doctor.application()
    assert written.level == "warning"
    assert written.text.endswith(f": the site's middleware wraps send in tests.test_doctor.{name}.")
    assert "set DIRECT_WRITES to False" in written.fix
    settings.BROADCAST = {"DIRECT_WRITES": False}
    assert [finding.level for finding in doctor.application()] == ["ok", "ok"]


async def another(scope: Any, receive: Any, send: Any) -> None:
    """A WebSocket of the site's own."""
    await receive()
    await send({"type": "websocket.accept"})


def test_of_what_another_app_answers_nothing_is_said_but_that(settings):
    settings.ASGI_APPLICATION = "tests.test_doctor.another"
    (answered,) = doctor.application()
    assert answered.level == "ok"


# Static files


def test_static_files_without_the_app(settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django.contrib.staticfiles"]
    assert found(doctor.static_files).level == "warning"


def test_static_files_that_are_not_found(settings):
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    finding = found(doctor.static_files)
    assert finding.level == "error"
    assert "AppDirectoriesFinder" in finding.fix


@pytest.mark.parametrize("root", [None, "empty", "full"])
def test_static_files_that_nothing_serves(settings, tmp_path: Path, root):
    settings.DEBUG, settings.MIDDLEWARE = False, []
    settings.STATIC_ROOT = str(tmp_path / root) if root else None
    if root == "full":
        call_command("collectstatic", verbosity=0, interactive=False)
    finding = found(doctor.static_files)
    assert finding.level == ("ok" if root == "full" else "warning")
    assert ("collectstatic" in finding.fix) == (root != "full")


@pytest.mark.parametrize(("finders", "level"), [(True, "ok"), (False, "warning")])
def test_static_files_that_whitenoise_serves(settings, tmp_path: Path, finders, level):
    settings.DEBUG, settings.MIDDLEWARE = False, ["whitenoise.middleware.WhiteNoiseMiddleware"]
    settings.WHITENOISE_USE_FINDERS, settings.STATIC_ROOT = finders, str(tmp_path)
    assert found(doctor.static_files).level == level


# The round trip


@pytest.mark.django_db(transaction=True)
def test_a_message_is_sent_and_received_for_real(broadcasts):
    finding = found(doctor.round_trip)
    assert finding.level == "ok"
    assert re.fullmatch(r"A message was in the log after \d+\.\d ms and delivered after \d+\.\d ms\.", finding.text)
    broadcasts.assert_sent(group="broadcast-doctor", author="Doctor")


def test_a_round_trip_without_a_log_is_none():
    finding = found(doctor.round_trip)
    assert finding.level == "error"
    assert "log" in finding.text


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
    assert out.getvalue().splitlines() == [
        "ok       Fine.",
        "warning  Hm.",
        "         Do.",
        "error    No.",
        "         Undo.",
    ]


def test_what_fails_is_a_finding_and_the_rest_is_looked_at_all_the_same(monkeypatch):
    def clock() -> Iterator[Finding]:
        raise ValueError("no hands")

    well = lambda: iter([Finding("ok", "Fine.")])  # noqa: E731
    for name in ("system_checks", "log", "layer", "application", "static_files", "round_trip"):
        monkeypatch.setattr(doctor, name, well)
    monkeypatch.setattr(doctor, "clock", clock)
    findings = list(examine())
    assert [finding.level for finding in findings] == ["ok", "ok", "error", "ok", "ok", "ok", "ok"]
    assert findings[2].text == "Looking at the clock failed: ValueError('no hands')."


@pytest.fixture
def _site_is_loaded() -> None:
    """Sets logging up anew, the first time."""
    import_module("project.asgi")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_site_is_loaded")
def test_nothing_is_logged_meanwhile_and_everything_afterwards(caplog):
    list(examine())
    assert caplog.records == []
    logging.getLogger("broadcast").warning("Hm.")
    assert len(caplog.records) == 1
