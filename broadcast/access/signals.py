"""Django's signals that somebody may have lost a right, passed on to every process that has connections.

They make it quick; the passes that every process makes by itself make it sure.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_out
from django.db import Error, router, transaction
from django.db.models.signals import m2m_changed, post_delete, post_save

from ..engine.log_lines import say
from ..models import Message, Receipt

MAX_NAMED = 1000  # users in one event; more than that is everyone
REVOKE = "broadcast.revoke"


def connect() -> None:
    user = get_user_model()
    user_logged_out.connect(signed_out, dispatch_uid="broadcast")
    post_save.connect(user_saved, sender=user, dispatch_uid="broadcast")
    post_delete.connect(user_deleted, sender=user, dispatch_uid="broadcast")
    for name in ("groups", "user_permissions"):
        if relation := getattr(user, name, None):
            m2m_changed.connect(users_related, sender=relation.through, dispatch_uid="broadcast")
    if apps.is_installed("django.contrib.auth"):
        group = apps.get_model("auth", "Group")
        m2m_changed.connect(group_changed, sender=group.permissions.through, dispatch_uid="broadcast")
        post_delete.connect(group_changed, sender=group, dispatch_uid="broadcast")


def signed_out(sender: Any, user: Any, **kwargs: Any) -> None:
    if user is not None:
        revalidate_soon([user.pk], router.db_for_write(type(user)), signed_out=True)


def user_saved(sender: Any, instance: Any, created: bool, using: str, update_fields: Any, **kwargs: Any) -> None:
    if not created and update_fields != {"last_login"}:
        revalidate_soon([instance.pk], using)


def user_deleted(sender: Any, instance: Any, using: str, **kwargs: Any) -> None:
    """Leaves what the user said under their name and no account, and ends what their connections may do."""
    revalidate_soon([instance.pk], using)
    log = router.db_for_write(Message)
    if log == using:
        separate(log, instance.pk)
    else:  # where a rollback here would leave it done
        transaction.on_commit(partial(separate_if_possible, log, instance.pk), using=using, robust=True)


def separate(log: str, key: Any) -> None:
    """Takes the account from all messages of a user, and forgets what they read."""
    Message.objects.using(log).filter(user_id=key).update(user=None)
    Receipt.objects.using(log).filter(user_id=key).delete()


def separate_if_possible(log: str, key: Any) -> None:
    """The same once the account is gone: then it is too late to refuse."""
    try:
        separate(log, key)
    except Error as error:
        say(logging.WARNING, "Messages of user %s cannot be separated from the account right now", key, error=error)


def users_related(
    sender: Any, instance: Any, action: str, reverse: bool, pk_set: Any, using: str, **kwargs: Any
) -> None:
    """A user was given groups or permissions, or (``reverse``) one of these was given users; None: all it had."""
    if action.startswith("post_"):
        revalidate_soon(pk_set if reverse else [instance.pk], using)


def group_changed(sender: Any, using: str, action: str = "post_delete", **kwargs: Any) -> None:
    if action.startswith("post_"):
        revalidate_soon(None, using)


def revalidate_soon(users: Iterable[Any] | None, using: str, signed_out: bool = False) -> None:
    """Has the connections of these users, or of everyone, revalidated once the transaction is committed.

    Never raises: it may come inside anything a site does.
    """
    keys = None if users is None else [str(key) for key in users]
    if keys is not None and len(keys) > MAX_NAMED:
        keys = None
    publishing = partial(publish, {"type": REVOKE, "users": keys, "signed_out": signed_out})
    try:
        transaction.on_commit(publishing, using=using, robust=True)
    except Exception:  # no database may be used here, or the site manages its transactions itself
        publishing()


def publish(event: dict[str, Any]) -> None:
    from ..engine.process import current_process  # most processes never need it, and start without it

    current_process().hints.publish_control(event)
