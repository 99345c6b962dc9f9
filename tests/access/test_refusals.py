"""One answer to "may this user do this in this group": alike for whoever asks, by plain and by signed names."""

from unittest.mock import Mock

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import OperationalError

from broadcast.access.refusals import arequire, may, refusal, require
from broadcast.access.signed_names import signed_name
from broadcast.exceptions import LogUnavailable, Refused

ANN = User(pk=7, username="ann")
GROUPS = {
    "news": {"subscribe": "anyone", "publish": "authenticated"},
    "staff": {"publish": "perm:broadcast.add_message"},
}
NO_NEWS = 'You may not write to \'news\': BROADCAST["GROUPS"]["news"]["publish"] is "authenticated".'


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
        (ANN, "subscribe", "nowhere", "There is no group 'nowhere' here. A site names"),
        (ANN, "subscribe", "no where", "There is no group 'no where' here."),
        (ANN, "subscribe", lambda: signed_name("ticket.1", ANN), ""),
        (None, "subscribe", lambda: signed_name("ticket.1", ANN), "The signed name of 'ticket.1' is not for you"),
        (ANN, "publish", lambda: signed_name("ticket.1", ANN), "There is no group 'ticket.1' here."),
        (ANN, "publish", lambda: signed_name("news", None), ""),
    ],
)
async def test_everyone_is_answered_alike(user, action, name, reason):
    name = name() if callable(name) else name
    said = refusal(user, action, name)
    assert said.startswith(reason)
    assert bool(said) is bool(reason) is not may(user, action, name)
    run = Mock()  # no rule here needs the database
    if not reason:
        assert require(user, action, name) == await arequire(run, user, action, name) == name.partition(":")[0]
        return
    for refused in (lambda: require(user, action, name), arequire(run, user, action, name)):
        with pytest.raises(Refused) as caught:
            await refused if hasattr(refused, "__await__") else refused()
        assert (str(caught.value), caught.value.code) == (said, "forbidden")


def test_a_group_that_no_rule_names_may_have_a_code_of_its_own():
    codes = []
    for name in ("nowhere", "staff", "ticket.1:x:y"):
        with pytest.raises(Refused) as caught:
            require(None, "subscribe", name, unknown="not_found")
        codes.append(caught.value.code)
    assert codes == ["not_found", "forbidden", "forbidden"]


async def test_permissions_that_cannot_be_looked_up_are_unavailable(monkeypatch):
    async def away(question):
        raise LogUnavailable("the database is at lunch")

    with pytest.raises(Refused, match=r"Permissions cannot be looked up right now\. Try again\.") as caught:
        await arequire(away, ANN, "publish", "staff")
    assert (caught.value.code, caught.value.retry_after) == ("unavailable", 1.0)
    monkeypatch.setattr(User, "has_perm", Mock(side_effect=OperationalError("at lunch")))
    for ask in (may, require):
        with pytest.raises(LogUnavailable, match="Permissions cannot be looked up right now: at lunch"):
            ask(ANN, "publish", "staff")
