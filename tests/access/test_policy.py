"""Permission rules: the table of groups, and the site's own policy."""

from dataclasses import dataclass
from itertools import product
from unittest.mock import Mock

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError

from broadcast.access.policy import ACTIONS, allows, explain, is_word, needs_database


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
    return lambda table=(), **names: setattr(settings, "BROADCAST", {"GROUPS": {**dict(table), **names}})


# Words


def test_words():
    words = ["anyone", "authenticated", "staff", "nobody", "self", "perm:news.add_story"]
    assert all(map(is_word, words))
    others = ["", "everyone", "perm:", "perm:add_story", "perm:news.", "perm:a.b c", None, True]
    assert not any(map(is_word, others))


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


def test_what_is_not_named_is_denied(rules):
    rules(news={})
    assert not any(allows(*asked) for asked in product(EVERYBODY, ACTIONS, ["news", "other"]))


@pytest.mark.parametrize("action", ["subscribe", "publish"])
def test_self_is_whose_primary_key_the_star_stands_for(rules, action):
    rules({"user.*": {action: "self", "announce": "self"}, "user.8": {action: "self"}})
    assert allows(Account(pk=7), action, "user.7")
    assert allows(Account(pk="6f1c-a"), action, "user.6f1c-a")
    assert not any(allows(Account(pk=7), action, group) for group in ("user.70", "user.", "user.x.7"))
    assert not allows(Account(pk=7, is_active=False), action, "user.7")
    assert not allows(AnonymousUser(), action, "user.None")
    assert not allows(Account(pk=7), "announce", "user.7")
    assert not allows(Account(pk=8), action, "user.8")  # which is no pattern


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
    """Sets the ``POLICY`` of a site where anyone may write to "open"."""
    groups = {"open": {"publish": "anyone"}}
    return lambda function: setattr(settings, "BROADCAST", {"POLICY": function, "GROUPS": groups})


def test_a_policy_comes_before_the_table_and_none_leaves_it_to_that(site_policy):
    said = {"ticket.1": True, "open": False}
    site_policy(lambda user, action, group: said.get(group))
    assert allows(None, "subscribe", "ticket.1")
    assert not allows(MEMBER, "publish", "open")
    assert needs_database("publish", "open")
    said.clear()
    assert allows(None, "publish", "open")
    assert not allows(None, "subscribe", "ticket.1")


def test_a_policy_is_told_of_guests_as_none(site_policy):
    asked = []
    site_policy(lambda *args: asked.append(args))
    for user in EVERYBODY:
        allows(user, "publish", "open")
    assert asked == [(user, "publish", "open") for user in (None, None, MEMBER, STAFF, EDITOR, None)]


def may_only_staff(user, action, group):
    return user is not None and user.is_staff


def test_a_policy_may_be_named_and_refusals_name_it(site_policy):
    site_policy("tests.access.test_policy.may_only_staff")
    assert [user for user in EVERYBODY if allows(user, "announce", "anything")] == [STAFF]
    assert explain("publish", "open").startswith('Neither BROADCAST["POLICY"] nor, where that leaves it open, ')


def test_a_policy_that_fails_denies_and_says_so_once_per_cause(site_policy, caplog):
    site_policy(lambda user, action, group: 1 // (group == "ticket.2"))
    for _ in range(3):
        assert not allows(STAFF, "publish", "open")
        assert not allows(STAFF, "publish", "ticket.2")
    zero, wrong_type = caplog.records
    assert "integer division" in zero.getMessage()
    assert zero.exc_info
    assert "it returned int" in wrong_type.getMessage()
    site_policy("nowhere.may")
    assert not allows(STAFF, "publish", "open")
    assert "No module named 'nowhere'" in caplog.text


def test_a_database_that_is_away_is_no_verdict(site_policy):
    site_policy(Mock(side_effect=OperationalError("away")))
    with pytest.raises(OperationalError):
        allows(MEMBER, "publish", "open")


def test_the_defaults_are_safe(settings):
    settings.BROADCAST = {}
    announcer = Account(permissions=("broadcast.add_message",))
    for user, allowed in ((None, [True, False, False]), (STAFF, [True, True, False]), (announcer, [True] * 3)):
        assert [allows(user, action, "broadcast") for action in ACTIONS] == allowed
    assert not allows(announcer, "subscribe", "other")


def test_only_permissions_may_need_the_database(rules):
    rules(news={"subscribe": "anyone", "publish": "perm:news.add_story"})
    assert [needs_database(action, "news") for action in ACTIONS] == [False, True, False]
    assert not needs_database("publish", "other")


# What the refused are told


@pytest.mark.parametrize(
    ("action", "group", "sentence"),
    [
        ("subscribe", "news", 'BROADCAST["GROUPS"]["news"]["subscribe"] is "nobody".'),
        ("publish", "news", 'BROADCAST["GROUPS"]["news"]["publish"] is "staff".'),
        ("announce", "news", 'BROADCAST["GROUPS"]["news"]["announce"] is "perm:news.shout".'),
        ("publish", "user.9", 'BROADCAST["GROUPS"]["user.*"]["publish"] is "self".'),
        ("publish", "user", 'A site names its groups in BROADCAST["GROUPS"]; this one is not among them.'),
    ],
)
def test_a_refusal_has_the_setting_for_those_who_run_the_site(rules, action, group, sentence):
    rules({"news": {"publish": "staff", "announce": "perm:news.shout"}, "user.*": {"publish": "self"}})
    assert explain(action, group) == sentence
