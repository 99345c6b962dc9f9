"""Under which name a visitor speaks: a user under their own, a guest under one that is marked as such."""

from __future__ import annotations

from typing import Any

from ..engine.commands import Publish
from ..engine.process import current_process
from ..engine.storage.records import Draft
from ..engine.validation import is_servers_name
from ..exceptions import InvalidMessage
from ..models import Message


def draft_by(user: Any, said: Publish, group: str) -> Draft:
    """What ``user`` (None: a guest) says to a group, as a message under a name that nobody can forge.

    Raises InvalidMessage with the code ``forbidden`` if the name is the site's own.
    """
    source = Message.Source.GUEST if user is None else Message.Source.USER
    author = (said.author or "Guest") if user is None else str(user.get_username())
    if is_servers_name(author):
        raise InvalidMessage(f"{author!r} is the name under which this site speaks. Take another.", "forbidden")
    return Draft(
        group=group,
        source=source,
        author=author,
        body=said.body,
        ref=said.ref or current_process().system.uuid(),
        data=said.data,
        user_id=None if user is None else user.pk,
        has_client_ref=said.ref is not None,
    )
