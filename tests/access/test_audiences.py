"""Audiences: the groups that stand for users and objects."""

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.contrib.auth.models import Group as UserGroup
from django.contrib.sessions.models import Session
from django.utils.functional import SimpleLazyObject

from broadcast import asend, asend_many, send, send_many
from broadcast.access.audiences import group_for
from broadcast.exceptions import InvalidMessage
from broadcast.models import Message


class Colleague(User):
    """A user by another name."""

    class Meta:
        proxy = True
        app_label = "tests"


class Department(UserGroup):
    class Meta:
        proxy = True
        app_label = "tests"


ANN = User(pk=7, username="ann")
BOB = User(pk=70, username="bob")
for saved in (ANN, BOB):
    saved._state.adding = False


# Groups


def test_a_user_has_a_group_of_their_own(db):
    ann = User.objects.create_user("ann")
    assert group_for(ann) == group_for(SimpleLazyObject(lambda: ann)) == f"user.{ann.pk}"
    assert group_for(Colleague.objects.get()) == f"user.{ann.pk}"
    ann.delete()
    with pytest.raises(InvalidMessage, match="must be saved"):
        group_for(ann)


def test_an_instance_of_any_other_model_has_one_too(db):
    editors = UserGroup.objects.create(name="editors")
    assert group_for(editors) == group_for(Department.objects.get()) == f"auth.group.{editors.pk}"
    assert group_for(Permission.objects.earliest("pk")).startswith("auth.permission.")


@pytest.mark.parametrize(
    ("to", "reason"),
    [
        (None, "it came as None"),
        (AnonymousUser(), "it came as an anonymous user"),
        (SimpleLazyObject(AnonymousUser), "it came as an anonymous user"),
        (User, "it came as the class User"),
        (7, "it came as int"),
        ([ANN], "it came as list"),
        (User(username="new"), "this User is not"),
        (User(pk=9, username="new"), "this User is not"),
        ("no such name", "must match .*; to came as 'no such name'"),
        ("", "must match .*; to came as ''"),
        (Session(session_key="a b"), "this Session is not"),
    ],
)
def test_who_is_nobody_is_refused_with_the_reason(to, reason):
    with pytest.raises(InvalidMessage, match=reason):
        group_for(to)


@pytest.mark.parametrize("key", ["a/b", "é", "x" * 80])
def test_a_key_that_does_not_fit_into_a_name_is_refused(key):
    session = Session(session_key=key)
    session._state.adding = False
    with pytest.raises(InvalidMessage, match=f"that of to would be 'sessions.session.{key}"):
        group_for(session)


# Sending


def test_every_way_of_sending_takes_an_audience(db):
    sent = [send("a", to=ANN), *send_many(["b", {"body": "c", "to": BOB}, {"body": "d", "group": "news"}], to=ANN)]
    assert [message.group_id for message in sent] == ["user.7", "user.7", "user.70", "news"]
    assert send_many([{"body": "e", "to": ANN}], group="news")[0].group_id == "user.7"


async def test_async_code_too(transactional_db):
    ann = SimpleLazyObject(lambda: User.objects.get())
    key = (await User.objects.acreate_user("ann")).pk
    assert (await asend("a", to=ann)).group_id == f"user.{key}"
    assert (await asend_many(["b"], to="staff"))[0].group_id == "staff"
    assert await sync_to_async(Message.objects.count)() == 2


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"to": ANN, "group": "news"}, "Give to or group, not both; they came as User and 'news'"),
        ({"to": None}, "it came as None"),
    ],
)
def test_what_was_meant_for_one_never_goes_to_all(broadcasts, wrong, reason):
    for sending in (
        lambda: send("a", **wrong),
        lambda: send_many(["a"], **wrong),
        lambda: send_many([{"body": "a", **wrong}]),
    ):
        with pytest.raises(InvalidMessage, match=reason):
            sending()
    broadcasts.assert_nothing_sent()


def test_tests_may_ask_whom_it_was_for(broadcasts):
    send("a", to=ANN)
    send("b", to="staff")
    broadcasts.assert_sent(to=ANN, body="a")
    broadcasts.assert_sent(to="staff")
    broadcasts.assert_sent(to=BOB, times=0)
    with pytest.raises(AssertionError, match=r"author='Server', group='user\.7'"):
        broadcasts.assert_sent(to=BOB)
