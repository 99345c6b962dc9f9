"""Who a message is for: the group of a user, of an object or of a name, and names that open a group by themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeGuard

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.signing import BadSignature, SignatureExpired, TimestampSigner
from django.db.models import Model

from ..conf import conf
from ..exceptions import InvalidMessage
from ..groups import GROUP_NAME, is_group_name
from .policy import is_signed_in

UNSET: Any = object()
"""What ``to`` is when nobody gave it. None is no audience: it is what a relation that leads nowhere gives."""


def group_for(to: object) -> str:
    """The name of the group that stands for ``to``.

    A user has ``user.<pk>``, which reaches all their tabs and nobody else; an instance of any other
    model ``<app_label>.<model_name>.<pk>``, also by a proxy of its model; text is the name of a
    group. Raises InvalidMessage for anything else, for what is not saved, and for a key that does
    not fit into a group's name.
    """
    if isinstance(to, str):
        if is_group_name(to):
            return str(to)
        raise InvalidMessage(f"A group's name must match {GROUP_NAME.pattern}; to came as {to[:80]!r}.")
    if isinstance(to, type) or not isinstance(to, Model):
        raise InvalidMessage(
            f"to must be a user, a saved model instance or a group's name; it came as {described(to)}."
        )
    if to.pk is None or to._state.adding:
        raise InvalidMessage(f"to must be saved, for its key names the group; this {type(to).__name__} is not.")
    group = f"{kind_of(to)}.{to.pk}"
    if not is_group_name(group):
        raise InvalidMessage(f"The group's name must match {GROUP_NAME.pattern}; that of to would be {group[:160]!r}.")
    return group


def kind_of(instance: Model) -> str:
    """The first part of the name of an instance's group."""
    if is_user(instance):
        return "user"
    concrete = instance._meta.concrete_model or type(instance)
    return concrete._meta.label_lower


def is_user(to: object) -> TypeGuard[AbstractBaseUser]:
    return isinstance(to, get_user_model())


def described(to: object) -> str:
    if to is None:
        return "None"
    if getattr(to, "is_anonymous", False) is True:
        return "an anonymous user"
    return f"the class {to.__name__}" if isinstance(to, type) else type(to).__name__


# Signed names


def signed_name(to: object, user: Any = None) -> str:
    """A name that lets ``user`` subscribe to the group of ``to``, whatever the rules say.

    It is for a page whose view has decided who may see ``to``: a client subscribes to it as to any
    group's name, and hears of the group under its plain one. It is worth something to that user
    alone (without one, or with one who is not signed in: to guests), for ``SIGNED_NAME_AGE``
    seconds, and for subscribing only. Raises InvalidMessage as ``group_for`` does, and for another
    user than ``user``: what is sent to somebody reaches nobody else.
    """
    group = group_for(to)
    if is_user(to) and not (is_signed_in(user) and group == group_for(user)):
        raise InvalidMessage(
            f"to is the user {to.get_username()!r}, whose own group is for that user alone. Show it on that user's own "
            "pages only, or allow others to subscribe to it by a rule or a policy."
        )
    return signer_for(user).sign(group)


def plain_name(name: str) -> str:
    """The group that a name means, signed or not."""
    return name.partition(":")[0]


def is_signed(name: str) -> bool:
    """Whether ``name`` claims to be a signed one."""
    return ":" in name


def refusal_of(name: str, user: Any) -> str:
    """Why a signed name does not let ``user`` subscribe, as a sentence; empty if it does."""
    try:
        signer_for(user).unsign(name, max_age=timedelta(seconds=conf.SIGNED_NAME_AGE))
    except SignatureExpired:
        return f"The signed name of {plain_name(name)!r} has expired. Load the page again."
    except BadSignature:
        return f"The signed name of {plain_name(name)!r} is not for you, or not of this site. Load the page again."
    return ""


def signer_for(user: Any) -> TimestampSigner:
    """Signs for one user, known by the key, or for guests."""
    whom = f"user:{user.pk}" if is_signed_in(user) else "guests"
    return TimestampSigner(sep=":", salt=f"broadcast.audiences:{whom}")
