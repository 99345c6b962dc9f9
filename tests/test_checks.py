"""The system checks: what each takes for right and for wrong. tests/live/test_wiring.py has each id once, in a site."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.checks import CheckMessage, run_checks
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from broadcast import checks

IN_MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
REDIS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}


@pytest.fixture(autouse=True)
def sound_site(settings):
    """A site with nothing to complain about; each test breaks one thing."""
    settings.BROADCAST = {}
    settings.DEBUG = True
    settings.CHANNEL_LAYERS = IN_MEMORY
    settings.ASGI_APPLICATION = "project.asgi.application"
    return settings


def issues(databases: tuple[str, ...] = (), **options) -> list[CheckMessage]:
    return run_checks(tags=["broadcast"], databases=databases, **options)


def the_issue(**options) -> CheckMessage:
    """The only issue that the checks find."""
    (issue,) = issues(**options)
    return issue


def test_a_site_without_settings_passes(settings):
    del settings.BROADCAST
    assert issues(include_deployment_checks=True) == []


@pytest.mark.parametrize("name", ["GROUPS", "CHANNEL_LAYER", "POLICY", "AUTHOR"])
def test_an_ill_typed_value_is_told_once_and_stops_no_other_check(settings, name):
    settings.BROADCAST = {name: ["broadcast"], "MAX_DATA": 0}
    told = [issue for issue in issues() if issue.id != "broadcast.E011"]  # which says that no layer is called so
    assert {issue.id for issue in told} == {"broadcast.E003"}
    assert sorted(issue.msg.split('"')[1] for issue in told) == sorted([name, "MAX_DATA"])


@pytest.mark.parametrize("who", ["anyone", "authenticated", "staff", "nobody", "self", "perm:news.add_story"])
@pytest.mark.parametrize("name", ["a.b_C-9.*", "x" * 79 + "*", "*"])
def test_names_words_and_limits_that_pass(settings, name, who):
    rule = {"subscribe": who, "publish": who, "keep_messages": None, "keep_seconds": None}
    settings.BROADCAST = {"GROUPS": {name: rule, "x" * 80: {"subscribe": "staff"}}}
    assert issues() == []


def test_the_order_of_daphne_is_no_matter_without_staticfiles(settings):
    others = [app for app in settings.INSTALLED_APPS if app not in ("daphne", "django.contrib.staticfiles")]
    settings.INSTALLED_APPS = [*others, "daphne"]
    assert issues() == []


@pytest.mark.parametrize("value", [None, ""])
def test_an_empty_asgi_application_is_a_missing_one(settings, value):
    settings.ASGI_APPLICATION = value
    assert the_issue().id == "broadcast.W001"


@pytest.mark.parametrize("layers", [None, {}, REDIS])
def test_a_site_with_redis_or_without_channel_layers_passes(settings, layers):
    settings.CHANNEL_LAYERS, settings.DEBUG = layers, False
    assert issues() == []
    del settings.CHANNEL_LAYERS
    assert issues() == []


@pytest.mark.parametrize(("on", "ids"), [(True, []), (False, ["broadcast.W003"])])
def test_a_layer_in_memory_is_told_of_where_hints_do_not_go_around_it(settings, on, ids):
    settings.DEBUG, settings.BROADCAST = False, {"HINTS_WITHOUT_LAYER": on}
    assert [issue.id for issue in issues()] == ids


class ToScratch:
    """A router that keeps everything in the database `scratch`."""

    def db_for_write(self, model, **hints):
        return "scratch"


@pytest.fixture
def scratch(settings, django_db_blocker) -> Iterator:
    """Opens a database under the alias `scratch`, where the log then is: ``scratch(engine, **settings)``."""
    settings.DATABASE_ROUTERS = [ToScratch()]

    def opened(engine: str, **changes):
        common = connections["default"].settings_dict | {"ENGINE": engine, "OPTIONS": {}}
        connections["scratch"] = load_backend(engine).DatabaseWrapper(common | changes, alias="scratch")

    with django_db_blocker.unblock():
        yield opened
        BaseDatabaseWrapper.close(connections["scratch"])  # SQLite's own leaves one in memory open
    del connections["scratch"]


SQLITE = "django.db.backends.sqlite3"


def test_sqlite_in_a_file_writes_ahead_and_the_hint_helps(scratch, tmp_path):
    scratch(SQLITE, NAME=tmp_path / "log.sqlite3")
    issue = the_issue(databases=("scratch",))
    assert issue.id == "broadcast.W004"
    assert issue.hint == 'Add "init_command": "PRAGMA journal_mode=WAL" to DATABASES["scratch"]["OPTIONS"].'
    connections["scratch"].close()
    scratch(SQLITE, NAME=tmp_path / "log.sqlite3", OPTIONS={"init_command": "PRAGMA journal_mode=WAL"})
    assert issues(databases=("scratch",)) == []


@pytest.mark.parametrize("databases", [(), ("default",)])
def test_a_database_that_was_not_handed_over_is_not_opened(scratch, tmp_path, databases):
    scratch(SQLITE, NAME=tmp_path / "log.sqlite3")
    assert issues(databases=databases) == []
    assert not (tmp_path / "log.sqlite3").exists()


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        (SQLITE, ":memory:"),
        (SQLITE, "file:scratch?mode=memory&cache=shared"),
        (SQLITE, "/nowhere/that/can/be/opened.sqlite3"),
        ("django.db.backends.dummy", "unasked"),
    ],
)
def test_a_database_that_is_not_judged(scratch, engine, name):
    scratch(engine, NAME=name)
    assert issues(databases=("scratch",)) == []


def may(user, action, group):
    """A policy that will do."""


async def amay(user, action, group):
    """A policy that will not: nobody awaits it."""


@pytest.mark.parametrize("policy", [None, may, "tests.test_checks.may", lambda *args: True])
def test_functions_that_will_do_pass(settings, policy):
    named = policy and User.get_full_name
    settings.BROADCAST = {"POLICY": policy, "AUTHOR": named}
    assert issues() == []


UNKNOWN = "BROADCAST has no setting"
NO_KEY = "which rules do not have."
KEYS = "subscribe, publish, announce, keep_messages, keep_seconds"
WRONG = [
    *((written, "E001", "") for written in ("MAX_BODY", 5, False)),
    ({"max_body": 1}, "E002", f"{UNKNOWN} 'max_body'. Did you mean 'MAX_BODY'?"),
    ({"ZZZ": 1}, "E002", f"{UNKNOWN} 'ZZZ'. Known are: GROUPS, POLICY, AUTHOR, "),
    ({7: 1}, "E002", f"{UNKNOWN} 7. Known are: GROUPS, POLICY, AUTHOR, "),
    *(
        ({"GROUPS": {name: {}}}, "E004", "")
        for name in ("", "two words", "a/b", "café", "x" * 81, "user.?", "us*er", "a**", "[ab]", 5)
    ),
    ({"GROUPS": {"news": {"KEEP_MESSAGES": 5}}}, "E006", f"{NO_KEY} Did you mean 'keep_messages'?"),
    ({"GROUPS": {"news": {1: 5}}}, "E006", f"{NO_KEY} Known are: {KEYS}."),
    *(({"GROUPS": {"news": {"publish": who}}}, "E007", "") for who in ("Staff", "perm:add_message", None)),
    ({"GROUPS": {"user.*": {"announce": "self"}}}, "E008", ""),
    ({"GROUPS": {"news": {"keep_seconds": "1h"}}}, "E009", ""),
    ({"LIMITS": 5}, "E003", "must be a dict of limits, not 5 (int)"),
    ({"LIMITS": {"PROXY": 1}}, "E013", """has no key 'PROXY'. Did you mean 'PROXIES'?"""),
    *(
        ({"LIMITS": {name: value}}, "E014", f'["{name}"] must be ')
        for name, value in (("PROXIES", -1), ("PROXIES", True), ("MESSAGE_RATE", 0), ("REDIS_URL", 6379))
    ),
    ({"POLICY": "tests.test_checks.nothing"}, "E012", "cannot be imported: Module"),
    ({"POLICY": "may"}, "E012", "cannot be imported: may doesn't look like a module path"),
    ({"POLICY": "tests.test_checks.IN_MEMORY"}, "E012", "which cannot be called"),
    ({"POLICY": lambda user: True}, "E012", "not take a user, an action and a group (too many positional arguments)"),
    ({"POLICY": "tests.test_checks.amay"}, "E012", "is an async function"),
    ({"AUTHOR": "tests.test_checks.nothing"}, "E015", "cannot be imported: Module"),
    ({"AUTHOR": "tests.test_checks.amay"}, "E015", "is an async function"),
    ({"AUTHOR": may}, "E015", "does not take a user (missing a required argument"),
]


@pytest.mark.parametrize(("written", "rule", "said"), WRONG)
def test_what_is_wrong_is_the_one_issue(settings, written, rule, said):
    settings.BROADCAST = written
    issue = the_issue()
    assert issue.id == f"broadcast.{rule}"
    assert said in f"{issue.msg} {issue.hint}"


def test_open_groups_are_told_of_when_deploying_alone(settings):
    settings.BROADCAST = {"GROUPS": {"news": {"subscribe": "anyone", "announce": "anyone", "publish": "staff"}}}
    assert issues() == []
    told = the_issue(include_deployment_checks=True).msg
    assert '["news"]["announce"] is "anyone": every visitor may announce' in told


def test_proxies_are_asked_for_when_deploying_alone(settings):
    settings.USE_X_FORWARDED_HOST = True
    settings.BROADCAST = {}
    assert issues() == []
    assert the_issue(include_deployment_checks=True).id == "broadcast.W006"
    settings.BROADCAST = {"LIMITS": {"PROXIES": 1}}
    assert issues(include_deployment_checks=True) == []


def test_every_rule_has_an_id_of_its_own():
    code = "".join(file.read_text() for file in Path(checks.__file__).parent.glob("*.py"))
    ids = re.findall(r'id="(broadcast\.[EIW]\d{3})"', code)
    assert len(ids) == len(set(ids)) == code.count("@checks.register(")
