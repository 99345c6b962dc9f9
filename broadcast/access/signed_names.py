"""Signed names: each opens one group to one user, whatever the rules say, until it expires."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.signing import BadSignature, SignatureExpired, TimestampSigner

from ..conf import conf
from ..exceptions import InvalidMessage
from .audiences import group_for, is_user
from .identity import is_signed_in


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
    """True if ``name`` claims to be a signed one."""
    return ":" in name


def refusal_of(name: str, user: Any) -> str:
    """The reason why a signed name does not let ``user`` subscribe, as a sentence; empty if it does."""
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
