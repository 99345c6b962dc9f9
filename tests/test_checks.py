"""The system checks: each id is hit once by what it is for, and by nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.checks import CheckMessage, run_checks
from django.db import connections
from django.db.utils import load_backend

from broadcast import checks

ROOT = Path(__file__).resolve().parent.parent

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


def issues(**options) -> list[CheckMessage]:
    return run_checks(tags=["broadcast"], **options)


def the_issue(**options) -> CheckMessage:
    """The only issue that the checks find."""
    (issue,) = issues(**options)
    return issue


def reported(issue: CheckMessage) -> tuple[str | None, str, str | None]:
    return issue.id, issue.msg, issue.hint


def test_a_sound_site_passes():
    assert issues(include_deployment_checks=True) == []


def test_a_site_without_settings_passes(settings):
    del settings.BROADCAST
    assert issues(include_deployment_checks=True) == []


@pytest.mark.parametrize("written", [[], "MAX_BODY", 5, False])
def test_broadcast_is_a_dict(settings, written):
    settings.BROADCAST = written
    issue = the_issue()
    assert issue.id == "broadcast.E001"
    assert issue.msg == f"BROADCAST must be a dict, not {written!r} ({type(written).__name__})."
    assert 'BROADCAST = {"MAX_BODY": 4000' in issue.hint


@pytest.mark.parametrize("key", ["MAX_BODDY", "max_body"])
def test_an_unknown_setting_is_named_and_the_nearest_suggested(settings, key):
    settings.BROADCAST = {key: 1}
    assert reported(the_issue()) == (
        "broadcast.E002",
        f"BROADCAST has no setting {key!r}.",
        "Did you mean 'MAX_BODY'?",
    )


@pytest.mark.parametrize("key", ["ZZZ", 7])
def test_an_unknown_setting_like_no_other_gets_the_list(settings, key):
    settings.BROADCAST = {key: 1}
    issue = the_issue()
    assert issue.id == "broadcast.E002"
    assert issue.hint.startswith("Known are: GROUPS, POLICY, MAX_BODY, ")


def test_an_ill_typed_value_is_named_with_what_was_expected_and_what_came(settings):
    settings.BROADCAST = {"MAX_BODY": "4000"}
    assert reported(the_issue()) == (
        "broadcast.E003",
        "BROADCAST[\"MAX_BODY\"] must be a positive whole number of characters, not '4000' (str).",
        "Correct it, or leave it out for the default, 4000.",
    )


@pytest.mark.parametrize("name", ["GROUPS", "CHANNEL_LAYER"])
def test_an_ill_typed_value_stops_no_other_check(settings, name):
    settings.BROADCAST = {name: ["broadcast"], "MAX_DATA": 0}
    found = {issue.msg.split('"')[1] for issue in issues() if issue.id == "broadcast.E003"}
    assert found == {name, "MAX_DATA"}


@pytest.mark.parametrize("name", ["", "two words", "a/b", "café", "x" * 81, "user.?", "us*er", "a**", "[ab]", 5])
def test_a_group_is_well_named(settings, name):
    settings.BROADCAST = {"GROUPS": {name: {}}}
    issue = the_issue()
    assert issue.id == "broadcast.E004"
    assert issue.msg == f'BROADCAST["GROUPS"] names a group {name!r}, which no group can be called.'
    assert "one * more, at its end" in issue.hint


@pytest.mark.parametrize("name", ["broadcast", "a.b_C-9", "x" * 80, "user.*", "*"])
def test_names_and_patterns_pass(settings, name):
    settings.BROADCAST = {"GROUPS": {name: {"subscribe": "staff"}}}
    assert issues() == []


def test_a_rule_is_a_dict(settings):
    settings.BROADCAST = {"GROUPS": {"news": "anyone"}}
    assert reported(the_issue()) == (
        "broadcast.E005",
        'BROADCAST["GROUPS"]["news"] must be a dict, not \'anyone\' (str).',
        'Write a rule such as {"subscribe": "anyone", "publish": "authenticated"}.',
    )


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("subscribes", "Did you mean 'subscribe'?"),
        ("KEEP_MESSAGES", "Did you mean 'keep_messages'?"),
        ("zzz", "Known are: subscribe, publish, announce, keep_messages, keep_seconds."),
        (1, "Known are: subscribe, publish, announce, keep_messages, keep_seconds."),
    ],
)
def test_an_unknown_key_of_a_rule_is_named(settings, key, hint):
    settings.BROADCAST = {"GROUPS": {"news": {key: "staff"}}}
    assert reported(the_issue()) == (
        "broadcast.E006",
        f'BROADCAST["GROUPS"]["news"] has a key {key!r}, which rules do not have.',
        hint,
    )


@pytest.mark.parametrize("who", ["everyone", "Staff", "perm:add_message", None])
def test_an_unknown_word_is_named(settings, who):
    settings.BROADCAST = {"GROUPS": {"news": {"publish": who}}}
    came = f"{who!r} ({type(who).__name__})"
    assert reported(the_issue()) == (
        "broadcast.E007",
        f'BROADCAST["GROUPS"]["news"]["publish"] must be a word for who may publish, not {came}.',
        "Use anyone, authenticated, staff, nobody, self or perm:<app_label>.<codename>.",
    )


@pytest.mark.parametrize("who", ["anyone", "authenticated", "staff", "nobody", "self", "perm:news.add_story"])
def test_every_word_passes(settings, who):
    settings.BROADCAST = {"GROUPS": {"user.*": {"subscribe": who}}}
    assert issues() == []


@pytest.mark.parametrize(("name", "action"), [("news", "subscribe"), ("user.*", "announce")])
def test_self_stands_where_it_means_somebody(settings, name, action):
    settings.BROADCAST = {"GROUPS": {name: {action: "self"}}}
    issue = the_issue()
    assert issue.id == "broadcast.E008"
    assert issue.msg == f'BROADCAST["GROUPS"]["{name}"]["{action}"] is "self", which allows nobody here.'
    assert '"user.*"' in issue.hint


def test_self_passes_for_subscribe_and_publish_of_a_pattern(settings):
    settings.BROADCAST = {"GROUPS": {"user.*": {"subscribe": "self", "publish": "self"}}}
    assert issues() == []


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("keep_messages", 0, "a positive whole number of messages, or None for no limit, not 0 (int)"),
        ("keep_seconds", "1h", "a positive number of seconds, or None for no limit, not '1h' (str)"),
    ],
)
def test_a_limit_of_a_rule_has_its_type(settings, key, value, expected):
    settings.BROADCAST = {"GROUPS": {"news": {key: value}}}
    assert reported(the_issue()) == (
        "broadcast.E009",
        f'BROADCAST["GROUPS"]["news"]["{key}"] must be {expected}.',
        f'Correct it, or leave it out for that of BROADCAST["{key.upper()}"].',
    )


def test_limits_of_a_rule_may_be_none(settings):
    settings.BROADCAST = {"GROUPS": {"news": {"keep_messages": None, "keep_seconds": None}}}
    assert issues() == []


def test_daphne_comes_before_staticfiles(settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "daphne"] + ["daphne"]
    issue = the_issue()
    assert issue.id == "broadcast.E010"
    assert "daphne comes after django.contrib.staticfiles" in issue.msg
    assert issue.hint == 'Put "daphne" first in INSTALLED_APPS.'


def test_the_order_is_no_matter_without_staticfiles(settings):
    others = [app for app in settings.INSTALLED_APPS if app not in ("daphne", "django.contrib.staticfiles")]
    settings.INSTALLED_APPS = [*others, "daphne"]
    assert issues() == []


def test_daphne_is_installed(settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "daphne"]
    assert reported(the_issue()) == (
        "broadcast.W002",
        "daphne is not in INSTALLED_APPS, so runserver speaks no WebSocket.",
        'Put "daphne" first in INSTALLED_APPS.',
    )


@pytest.mark.parametrize("value", [None, ""])
def test_an_empty_asgi_application_is_a_missing_one(settings, value):
    settings.ASGI_APPLICATION = value
    assert the_issue().id == "broadcast.W001"


def test_asgi_application_is_set(settings):
    del settings.ASGI_APPLICATION
    assert reported(the_issue()) == (
        "broadcast.W001",
        "ASGI_APPLICATION is not set, and daphne's runserver does not start without it.",
        'Set it to the application in your asgi.py, such as "project.asgi.application".',
    )


def test_the_channel_layer_exists(settings):
    settings.BROADCAST = {"CHANNEL_LAYER": "defualt"}
    assert reported(the_issue()) == (
        "broadcast.E011",
        "CHANNEL_LAYERS has no 'defualt', which BROADCAST[\"CHANNEL_LAYER\"] says to use.",
        "Did you mean 'default'?",
    )


@pytest.mark.parametrize("layers", [None, {}])
def test_a_site_without_channel_layers_passes(settings, layers):
    settings.CHANNEL_LAYERS = layers
    settings.DEBUG = False
    assert issues() == []


def test_a_site_that_does_not_mention_channel_layers_passes(settings):
    del settings.CHANNEL_LAYERS
    assert issues() == []


def test_an_in_memory_layer_is_for_development(settings):
    settings.DEBUG = False
    issue = the_issue()
    assert issue.id == "broadcast.W003"
    assert "The channel layer 'default' is in memory" in issue.msg
    assert "up to 1.0 s late" in issue.msg
    assert "channels_redis" in issue.hint


def test_a_layer_of_redis_is_for_production(settings):
    settings.DEBUG = False
    settings.CHANNEL_LAYERS = REDIS
    assert issues() == []


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
        connections["scratch"].close()
    del connections["scratch"]


SQLITE = "django.db.backends.sqlite3"


def test_sqlite_in_a_file_writes_ahead(scratch, tmp_path):
    scratch(SQLITE, NAME=tmp_path / "log.sqlite3")
    assert reported(the_issue(databases=["scratch"])) == (
        "broadcast.W004",
        "The SQLite database 'scratch' has no write-ahead log, so whoever reads the log holds up whoever sends.",
        'Add "init_command": "PRAGMA journal_mode=WAL" to DATABASES["scratch"]["OPTIONS"].',
    )


def test_the_hint_for_sqlite_helps(scratch, tmp_path):
    options = {"init_command": "PRAGMA journal_mode=WAL"}
    scratch(SQLITE, NAME=tmp_path / "log.sqlite3", OPTIONS=options)
    assert issues(databases=["scratch"]) == []


@pytest.mark.parametrize("databases", [None, [], ["default"]])
def test_a_database_that_was_not_handed_over_is_not_opened(scratch, tmp_path, databases):
    scratch(SQLITE, NAME=tmp_path / "log.sqlite3")
    assert issues(databases=databases) == []
    assert not (tmp_path / "log.sqlite3").exists()


@pytest.mark.parametrize("name", [":memory:", "file:scratch?mode=memory&cache=shared"])
def test_sqlite_in_memory_needs_no_write_ahead_log(scratch, name):
    scratch(SQLITE, NAME=name)
    assert issues(databases=["scratch"]) == []


def test_a_database_that_cannot_be_opened_is_not_judged(scratch, tmp_path):
    scratch(SQLITE, NAME=tmp_path / "missing" / "log.sqlite3")
    assert issues(databases=["scratch"]) == []


def test_a_database_that_is_not_sqlite_is_not_asked(scratch):
    scratch("django.db.backends.dummy")
    assert issues(databases=["scratch"]) == []


def may(user, action, group):
    """A policy that will do."""


async def amay(user, action, group):
    """A policy that will not: nobody awaits it."""


@pytest.mark.parametrize("policy", [None, may, "tests.test_checks.may", lambda *args: True])
def test_a_policy_that_will_do_passes(settings, policy):
    settings.BROADCAST = {"POLICY": policy}
    assert issues() == []


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ("nowhere.may", "cannot be imported: No module named 'nowhere'"),
        ("tests.test_checks.nothing", "cannot be imported: Module"),
        ("may", "cannot be imported: may doesn't look like a module path"),
        ("tests.test_checks.IN_MEMORY", "which cannot be called"),
        (lambda user: True, "does not take a user, an action and a group (too many positional arguments)"),
        ("tests.test_checks.amay", "is an async function"),
    ],
)
def test_a_policy_can_be_called(settings, policy, problem):
    settings.BROADCAST = {"POLICY": policy}
    issue = the_issue()
    assert issue.id == "broadcast.E012"
    assert issue.msg.startswith('BROADCAST["POLICY"] ')
    assert problem in issue.msg
    assert "may(user, action, group)" in issue.hint


def test_a_policy_of_another_type_is_told_once(settings):
    settings.BROADCAST = {"POLICY": 7}
    assert the_issue().id == "broadcast.E003"


def test_open_groups_are_told_of_when_deploying(settings):
    settings.BROADCAST = {
        "GROUPS": {
            "news": {"subscribe": "anyone", "publish": "staff", "announce": "anyone"},
            "room.*": {"subscribe": "anyone", "publish": "anyone"},
        }
    }
    assert issues() == []
    found = issues(include_deployment_checks=True)
    assert [issue.id for issue in found] == ["broadcast.W005"] * 2
    assert [issue.msg for issue in found] == [
        'BROADCAST["GROUPS"]["news"]["announce"] is "anyone": every visitor may announce, signed in or not.',
        'BROADCAST["GROUPS"]["room.*"]["publish"] is "anyone": every visitor may publish, signed in or not.',
    ]
    assert '"authenticated"' in found[0].hint


CODE = "".join(file.read_text() for file in Path(checks.__file__).parent.glob("*.py"))
IDS_IN_CODE = re.findall(r'id="(broadcast\.[EW]\d{3})"', CODE)


def test_every_rule_has_an_id_of_its_own():
    assert len(IDS_IN_CODE) == len(set(IDS_IN_CODE))
    registered = CODE.count("@checks.register(")
    assert len(IDS_IN_CODE) == registered


def test_the_docs_explain_every_id_and_no_other():
    explained = re.findall(r"^## `(broadcast\.[EW]\d{3})`", (ROOT / "docs" / "checks.md").read_text(), re.MULTILINE)
    assert sorted(explained) == sorted(IDS_IN_CODE)


def test_every_id_is_hit_by_a_test():
    tested = set(re.findall(r"broadcast\.[EW]\d{3}", Path(__file__).read_text()))
    assert tested == set(IDS_IN_CODE)
