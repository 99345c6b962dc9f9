"""The tables: the log, which holds every group's messages in order, and what users have read of it and dismissed."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class ChangeField(models.BigIntegerField):  # type: ignore[type-arg]
    """The mark of a row's last change: on PostgreSQL the transaction that made it, elsewhere a number that grows."""

    def db_type(self, connection: Any) -> str | None:
        return "xid8" if connection.vendor == "postgresql" else super().db_type(connection)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        value = super().get_db_prep_value(value, connection, prepared)
        return str(value) if connection.vendor == "postgresql" and isinstance(value, int) else value

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> int | None:
        return None if value is None else int(value)


class Group(models.Model):
    """A named stream of messages: how far it has got, and from where on it is kept."""

    name = models.CharField(_("name"), max_length=80, unique=True)
    epoch = models.CharField(
        _("epoch"),
        max_length=22,
        help_text=_("Changes whenever old offsets stop meaning what they meant."),
    )
    head = models.PositiveBigIntegerField(_("head"), default=0, help_text=_("The offset of the newest message."))
    begin = models.PositiveBigIntegerField(
        _("begin"), default=0, help_text=_("The offset at which the epoch began: its messages come after it.")
    )
    floor = models.PositiveBigIntegerField(
        _("floor"), default=0, help_text=_("Messages up to this offset are no longer kept.")
    )

    # Nobody but the database knows what comes next (engine/storage/changes.py). Empty where a release before wrote.
    changed = ChangeField(_("changed"), null=True, editable=False)

    class Meta:
        verbose_name = _("message group")
        verbose_name_plural = _("message groups")
        ordering = ["name"]
        indexes = [models.Index(fields=["changed"], name="broadcast_changed")]

    def __str__(self) -> str:
        return self.name


class Message(models.Model):
    """One message of a group's log.

    ``offset`` and ``sent_at`` are null while the message waits to be sequenced: from its insertion
    inside somebody's transaction until shortly after that transaction's commit.
    """

    class Source(models.TextChoices):
        SERVER = "server", _("server")
        USER = "user", _("user")
        GUEST = "guest", _("guest")

    # No foreign key in the database: a message sent inside a long transaction must not touch its group's row.
    group = models.ForeignKey(
        Group,
        verbose_name=_("group"),
        on_delete=models.CASCADE,
        to_field="name",
        db_column="group_name",
        db_constraint=False,
        db_index=False,
        related_name="messages",
    )
    offset = models.PositiveBigIntegerField(_("offset"), null=True, editable=False)
    source = models.CharField(_("source"), max_length=6, choices=Source, default=Source.SERVER, editable=False)
    author = models.CharField(_("author"), max_length=255)
    # None in the database here either: a lock on a user's row would hold up everybody who sends to the group, and
    # the log may live in another database. A signal keeps it true (access/signals.py).
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
    )
    # The default is the database's too: a release that knows nothing of the column may write beside this one.
    by = models.CharField(_("sent by"), max_length=255, default="", db_default="", blank=True, editable=False)
    body = models.TextField(_("body"))
    data = models.JSONField(_("data"), null=True, blank=True)
    ref = models.UUIDField(_("ref"), default=uuid.uuid4, editable=False)
    sent_at = models.DateTimeField(_("sent at"), null=True, editable=False)

    group_id: str
    user_id: Any

    is_repeated = False
    """True if this message was there before: it stands for one that was sent again with the same ref."""

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["group", "offset"], name="broadcast_one_offset"),
            # Two users may have one name. Whoever is no user has no key, and nulls are never the same.
            models.UniqueConstraint(
                fields=["group", "ref", "source", "author", "user"],
                condition=Q(source="user"),
                name="broadcast_one_ref_per_user",
            ),
            models.UniqueConstraint(
                fields=["group", "ref", "source", "author"],
                condition=~Q(source="user"),
                name="broadcast_one_ref_per_name",
            ),
        ]
        indexes = [
            models.Index(fields=["group", "id"], condition=Q(offset__isnull=True), name="broadcast_waiting"),
        ]

    def __str__(self) -> str:
        return f"{self.author}: {self.body[:60]}"


class Receipt(models.Model):
    """What a user has read or dismissed: everything up to an offset of a group's epoch, or one message there.

    Rows are inserted and deleted and never changed, so that nobody waits for anybody else.
    """

    class Kind(models.TextChoices):
        READ = "read", _("read up to here")
        DISMISSED = "dismissed", _("dismissed")

    # No foreign keys in the database, as Message has none: users may live elsewhere, and epochs come and go.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    group = models.CharField(_("group"), max_length=80)
    epoch = models.CharField(_("epoch"), max_length=22)
    offset = models.PositiveBigIntegerField(_("offset"))
    kind = models.CharField(_("kind"), max_length=9, choices=Kind)
    at = models.DateTimeField(_("at"))

    user_id: Any

    class Meta:
        verbose_name = _("receipt")
        verbose_name_plural = _("receipts")
        constraints = [
            models.UniqueConstraint(fields=["user", "group", "epoch", "kind", "offset"], name="broadcast_one_receipt"),
        ]

    def __str__(self) -> str:
        return f"{self.group} {self.offset}: {self.kind}"
