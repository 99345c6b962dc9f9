"""Signed names: each opens one group to one user."""

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core import signing

from broadcast.access.signed_names import is_signed, plain_name, refusal_of, signed_name
from broadcast.exceptions import InvalidMessage
from broadcast.groups import is_group_name
from tests.access.test_audiences import ANN, BOB, User


def test_a_signed_name_opens_its_group_to_its_user():
    name = signed_name("ticket.1", ANN)
    assert (plain_name(name), is_signed(name), is_group_name(name)) == ("ticket.1", True, False)
    assert refusal_of(name, ANN) == ""
    assert signed_name(ANN, ANN).startswith("user.7:")


def test_it_is_worth_nothing_to_anybody_else():
    refusal = "The signed name of 'ticket.1' is not for you, or not of this site. Load the page again."
    for user in (BOB, None, AnonymousUser(), User(pk=7, is_active=False)):
        assert refusal_of(signed_name("ticket.1", ANN), user) == refusal


@pytest.mark.parametrize("signed_for", [None, AnonymousUser()])
def test_a_name_for_guests_is_for_guests(signed_for):
    name = signed_name("ticket.1", signed_for)
    assert [refusal_of(name, user) == "" for user in (None, AnonymousUser(), ANN)] == [True, True, False]


@pytest.mark.parametrize(
    "change",
    [
        lambda name: name.replace("ticket.1", "ticket.2"),
        lambda name: name[:-1] + ("a" if name[-1] != "a" else "b"),
        lambda name: ":".join([name.split(":")[0], "1zzzzz", name.split(":")[2]]),
        lambda name: name.rpartition(":")[0],
        lambda name: "ticket.1:",
        lambda name: signing.TimestampSigner().sign("ticket.1"),
    ],
)
def test_a_forged_name_opens_nothing(change):
    assert "is not for you" in refusal_of(change(signed_name("ticket.1", ANN)), ANN)


def test_it_expires(settings, monkeypatch):
    settings.BROADCAST = {"SIGNED_NAME_AGE": 100}
    name = signed_name("ticket.1", ANN)
    now = signing.time.time()
    monkeypatch.setattr(signing.time, "time", lambda: now + 99)
    assert refusal_of(name, ANN) == ""
    monkeypatch.setattr(signing.time, "time", lambda: now + 102)
    assert refusal_of(name, ANN) == "The signed name of 'ticket.1' has expired. Load the page again."


def test_a_users_own_group_is_signed_for_nobody_else():
    for reader in (ANN, None, AnonymousUser(), User(pk=70, is_active=False)):
        with pytest.raises(InvalidMessage, match="the user 'bob', whose own group is for that user alone"):
            signed_name(BOB, reader)
