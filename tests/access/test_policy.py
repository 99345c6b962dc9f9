"""Permission rules: the table of groups, and the site's own policy."""

from dataclasses import dataclass

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError

from broadcast.access.policy import ACTIONS, allows, explain, is_word, needs_database
from broadcast.engine.process import this_process


@dataclass
class Account:
    """A user as the policy sees one: no database behind it."""

    pk: object = 7
    is_active: bool = True
    is_staff: bool = False
    permissions: tuple[str, ...] = ()
    is_authenticated: bool = True

    def has_perm(self, permission: str) -> bool:
        return permission in self.permissions


GUESTS = [None, AnonymousUser()]
MEMBER = Account()
STAFF = Account(is_staff=True)
EDITOR = Account(permissions=("news.add_story",))
INACTIVE = Account(is_active=False, is_staff=True, permissions=("news.add_story",))
EVERYBODY = [*GUESTS, MEMBER, STAFF, EDITOR, INACTIVE]


@pytest.fixture
def rules(settings):
    """Sets the ``GROUPS`` table: ``rules(name={...})`` or ``rules({...})``."""

    def write(table=None, **names):
        settings.BROADCAST = {"GROUPS": {**(table or {}), **names}}

    return write


# Words


@pytest.mark.parametrize("who", ["anyone", "authenticated", "staff", "nobody", "self", "perm:news.add_story"])
def test_words(who):
    assert is_word(who)


@pytest.mark.parametrize("who", ["", "everyone", "perm:", "perm:add_story", "perm:news.", "perm:a.b c", None, True])
def test_what_is_no_word(who):
    assert not is_word(who)


# Who


@pytest.mark.parametrize(
    ("who", "allowed"),
    [
        ("anyone", EVERYBODY),
        ("authenticated", [MEMBER, STAFF, EDITOR]),
        ("staff", [STAFF]),
        ("nobody", []),
        ("self", []),
        ("perm:news.add_story", [EDITOR]),
        ("everyone", []),
        (None, []),
        (True, []),
    ],
)
@pytest.mark.parametrize("action", ACTIONS)
def test_a_word_allows_whom_it_names(rules, action, who, allowed):
    rules(news={action: who})
    assert [user for user in EVERYBODY if allows(user, action, "news")] == allowed


@pytest.mark.parametrize("user", EVERYBODY)
@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_not_named_is_denied(rules, user, action):
    rules(news={})
    assert not allows(user, action, "news")
    assert not allows(user, action, "other")


@pytest.mark.parametrize("action", ["subscribe", "publish"])
def test_self_is_whose_primary_key_the_star_stands_for(rules, action):
    rules({"user.*": {action: "self"}})
    assert allows(Account(pk=7), action, "user.7")
    assert allows(Account(pk="6f1c-a"), action, "user.6f1c-a")
    assert not allows(Account(pk=7), action, "user.70")
    assert not allows(Account(pk=7), action, "user.")
    assert not allows(Account(pk=7), action, "user.x.7")
    assert not allows(Account(pk=7, is_active=False), action, "user.7")
    assert not allows(AnonymousUser(), action, "user.None")


def test_nobody_announces_as_self(rules):
    rules({"user.*": {"announce": "self"}})
    assert not allows(Account(pk=7), "announce", "user.7")


def test_self_needs_a_pattern(rules):
    rules({"user.7": {"subscribe": "self"}})
    assert not allows(Account(pk=7), "subscribe", "user.7")


@pytest.mark.parametrize("table", [{}, {"news": {}}, {"*": {"subscribe": "anyone", "publish": "anyone"}}])
def test_users_and_staff_have_their_groups_in_every_site(rules, table):
    rules(table)
    assert allows(MEMBER, "subscribe", "user.7")
    assert not allows(MEMBER, "publish", "user.7")
    assert [user for user in EVERYBODY if allows(user, "subscribe", "user.8")] == []
    for action in ("subscribe", "publish"):
        assert [user for user in EVERYBODY if allows(user, action, "staff")] == [STAFF]


def test_a_site_may_have_other_rules_for_them(rules):
    rules({"user.*": {"publish": "self"}, "staff": {}})
    assert not allows(MEMBER, "subscribe", "user.7")
    assert allows(MEMBER, "publish", "user.7")
    assert not allows(STAFF, "subscribe", "staff")


# The site's own policy


@pytest.fixture
def site_policy(settings):
    """Sets the ``POLICY`` of a site where anyone may write to "open"; nothing was said of it yet."""
    this_process.reset()

    def write(function):
        settings.BROADCAST = {"POLICY": function, "GROUPS": {"open": {"publish": "anyone"}}}

    return write


def test_a_policy_comes_before_the_table_and_none_leaves_it_to_that(site_policy):
    said = {"ticket.1": True, "open": False}
    site_policy(lambda user, action, group: said.get(group))
    assert allows(None, "subscribe", "ticket.1")
    assert not allows(MEMBER, "publish", "open")
    said.clear()
    assert allows(None, "publish", "open")
    assert not allows(None, "subscribe", "ticket.1")
    assert needs_database("publish", "open")


@pytest.mark.parametrize("user", EVERYBODY)
def test_a_policy_is_told_of_guests_as_none(site_policy, user):
    asked = []
    site_policy(lambda *args: asked.append(args))
    allows(user, "publish", "open")
    assert asked == [(user if user in (MEMBER, STAFF, EDITOR) else None, "publish", "open")]


def may_only_staff(user, action, group):
    return user is not None and user.is_staff


def test_a_policy_may_be_named(site_policy):
    site_policy("tests.access.test_policy.may_only_staff")
    assert [user for user in EVERYBODY if allows(user, "announce", "anything")] == [STAFF]


def test_a_policy_that_fails_denies_and_says_so_once_per_cause(site_policy, caplog):
    site_policy(lambda user, action, group: 1 // (group == "ticket.2"))
    for _ in range(3):
        assert not allows(STAFF, "publish", "open")
    assert not allows(STAFF, "publish", "ticket.2")
    assert not allows(STAFF, "publish", "ticket.2")
    zero, wrong_type = caplog.records
    assert "integer division" in zero.getMessage()
    assert zero.exc_info
    assert "it returned int" in wrong_type.getMessage()


def test_a_policy_that_cannot_be_imported_denies(site_policy, caplog):
    site_policy("nowhere.may")
    assert not allows(STAFF, "publish", "open")
    assert "No module named 'nowhere'" in caplog.text


def test_a_database_that_is_away_is_no_verdict(site_policy):
    def away(user, action, group):
        raise OperationalError("away")

    site_policy(away)
    with pytest.raises(OperationalError):
        allows(MEMBER, "publish", "open")


def test_a_refusal_names_the_policy_where_there_is_one(site_policy):
    site_policy(may_only_staff)
    assert explain("publish", "open") == (
        "You may not write to 'open': neither BROADCAST[\"POLICY\"] nor, where that leaves it open, "
        'BROADCAST["GROUPS"] allows it.'
    )


def test_the_defaults_are_safe(settings):
    settings.BROADCAST = {}
    announcer = Account(permissions=("broadcast.add_message",))
    assert allows(None, "subscribe", "broadcast")
    assert not allows(None, "publish", "broadcast")
    assert allows(MEMBER, "publish", "broadcast")
    assert not allows(STAFF, "announce", "broadcast")
    assert allows(announcer, "announce", "broadcast")
    assert not allows(announcer, "subscribe", "other")


def test_only_permissions_may_need_the_database(rules):
    rules(news={"subscribe": "anyone", "publish": "perm:news.add_story"})
    assert needs_database("publish", "news")
    assert not needs_database("subscribe", "news")
    assert not needs_database("announce", "news")
    assert not needs_database("publish", "other")


# What the refused are told


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        (
            "subscribe",
            'You may not receive messages of \'news\': BROADCAST["GROUPS"]["news"]["subscribe"] is "nobody".',
        ),
        ("publish", 'You may not write to \'news\': BROADCAST["GROUPS"]["news"]["publish"] is "staff".'),
        ("announce", 'You may not announce to \'news\': BROADCAST["GROUPS"]["news"]["announce"] is "perm:news.shout".'),
    ],
)
def test_a_refusal_names_the_setting(rules, action, sentence):
    rules(news={"publish": "staff", "announce": "perm:news.shout"})
    assert explain(action, "news") == sentence


def test_a_refusal_names_the_pattern(rules):
    rules({"user.*": {"publish": "self"}})
    assert explain("publish", "user.9") == (
        'You may not write to \'user.9\': BROADCAST["GROUPS"]["user.*"]["publish"] is "self".'
    )


def test_a_refusal_says_when_there_is_no_such_group(rules):
    rules(news={})
    assert explain("subscribe", "nwes") == (
        "There is no group 'nwes' here. A site names its groups in BROADCAST[\"GROUPS\"]; 'nwes' is not among them."
    )
