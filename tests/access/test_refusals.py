"""One answer to "may this user do this in this group": alike for whoever asks, by plain and by signed names."""

from unittest.mock import Mock

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import OperationalError

from broadcast.access.refusals import arequire, may, refusal, require
from broadcast.access.sentences import told
from broadcast.access.signed_names import signed_name
from broadcast.exceptions import LogUnavailable, Refused

ANN = User(pk=7, username="ann")
STAFF = User(pk=8, username="root", is_staff=True)
GROUPS = {
    "news": {"subscribe": "anyone", "publish": "authenticated"},
    "staff": {"publish": "perm:broadcast.add_message"},
}
OR_NONE = "or there is no such group."
NO_NEWS = f"You may not write to 'news', {OR_NONE} Sign in if you have an account."


@pytest.fixture(autouse=True)
def rules(settings):
    settings.BROADCAST = {"GROUPS": GROUPS}


@pytest.mark.parametrize(
    ("user", "action", "name", "reason"),
    [
        (None, "subscribe", "news", ""),
        (ANN, "publish", "news", ""),
        (None, "publish", "news", NO_NEWS),
        (AnonymousUser(), "publish", "news", NO_NEWS),
        (ANN, "subscribe", "nowhere", f"You may not receive messages of 'nowhere', {OR_NONE} Those who run"),
        (ANN, "subscribe", "no where", f"You may not receive messages of 'no where', {OR_NONE} Those who run"),
        (ANN, "subscribe", lambda: signed_name("ticket.1", ANN), ""),
        (None, "subscribe", lambda: signed_name("ticket.1", ANN), "The signed name of 'ticket.1' is not for you"),
        (
            ANN,
            "publish",
            lambda: signed_name("ticket.1", ANN),
            f"You may not write to 'ticket.1', {OR_NONE} Those who run",
        ),
        (ANN, "publish", lambda: signed_name("news", None), ""),
    ],
)
async def test_everyone_is_answered_alike(user, action, name, reason):
    name = name() if callable(name) else name
    refused = refusal(user, action, name)
    said = str(refused or "")
    assert said.startswith(reason)
    assert "BROADCAST" not in said
    assert bool(said) is bool(reason) is not may(user, action, name)
    run = Mock()  # no rule here needs the database
    if not reason:
        assert require(user, action, name) == await arequire(run, user, action, name) == name.partition(":")[0]
        return
    for ask in (lambda: require(user, action, name), arequire(run, user, action, name)):
        with pytest.raises(Refused) as caught:
            await ask if hasattr(ask, "__await__") else ask()
        assert (str(caught.value), caught.value.code) == (said, "forbidden")


@pytest.mark.parametrize(("user", "code"), [(None, "forbidden"), (ANN, "forbidden"), (STAFF, "not_found")])
def test_only_staff_are_told_which_groups_there_are(user, code):
    told = []
    for name in ("nowhere", "news", "ticket.1:x:y"):
        with pytest.raises(Refused) as caught:
            require(user, "announce", name, unknown="not_found")
        told.append((caught.value.code, str(caught.value).replace(name, "x")))
    assert [each for each, _ in told] == [code, "forbidden", "forbidden"]
    assert told[0][1] == told[1][1]


async def test_permissions_that_cannot_be_looked_up_are_unavailable(monkeypatch):
    async def away(question):
        raise LogUnavailable("the database is at lunch")

    with pytest.raises(Refused) as caught:
        await arequire(away, ANN, "publish", "staff")
    assert told(caught.value, None) == "Permissions cannot be looked up right now. Try again."
    assert (caught.value.code, caught.value.retry_after) == ("unavailable", 1.0)
    monkeypatch.setattr(User, "has_perm", Mock(side_effect=OperationalError("at lunch")))
    for ask in (may, require):
        with pytest.raises(LogUnavailable, match="Permissions cannot be looked up right now: at lunch"):
            ask(ANN, "publish", "staff")
