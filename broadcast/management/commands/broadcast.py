"""``manage.py broadcast send``, ``tail``, ``renew`` and ``doctor``."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error
from django.utils import timezone

from broadcast.api import send
from broadcast.diagnostics.doctor import examine
from broadcast.engine.frames import Fields, checked_offset
from broadcast.engine.hub.reader import messages
from broadcast.engine.process import current_process
from broadcast.engine.validation import SERVER, checked_group
from broadcast.exceptions import BroadcastError
from broadcast.groups import DEFAULT_GROUP
from broadcast.models import Message

JOINERS = "\u200c\u200d"  # invisible and harmless: they hold scripts and emoji together


class Command(BaseCommand):
    help = "Sends a message to everyone who listens, prints messages as they come, or says and mends what is wrong."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        sending = actions.add_parser("send", help="send a message to everyone who listens, now or later")
        sending.add_argument("text", help="what to say; - reads it from standard input")
        audience = sending.add_mutually_exclusive_group()
        add_group(audience)
        audience.add_argument("--user", metavar="NAME", help="send it to this user alone, instead of to a group")
        sending.add_argument("--author", default=SERVER, help="the name it is sent under (default: %(default)s)")
        sending.add_argument("--data", type=json_value, help="a JSON object to go with it")
        tailing = actions.add_parser("tail", help="print messages as they come, until Ctrl-C")
        add_group(tailing)
        tailing.add_argument("--after", type=int, metavar="OFFSET", help="first those with offsets above this one")
        renewing = actions.add_parser("renew", help="begin a new epoch, after an older backup was restored")
        renewing.add_argument("groups", nargs="*", metavar="GROUP", help="the groups (default: all of the log)")
        doctor = actions.add_parser("doctor", help="say what is wrong with this deployment, and how to mend it")
        doctor.set_defaults(skip_checks=True)  # it says itself what they find

    def get_check_kwargs(self, options: dict[str, Any]) -> Any:
        """Keeps checks away from databases, of which Django 6.1 opens all: the doctor tells of one that is down."""
        return {**super().get_check_kwargs(options), "databases": []}

    def handle(self, *, action: str, **options: Any) -> None:
        actions: dict[str, Callable[..., None]] = {
            "send": self.send,
            "tail": self.tail,
            "renew": self.renew,
            "doctor": self.doctor,
        }
        try:
            actions[action](**options)
        except BroadcastError as error:
            raise CommandError(str(error)) from error

    # send

    def send(self, text: str, group: str, user: str | None, author: str, data: Any, **options: Any) -> None:
        body = typed_in() if text == "-" else text
        audience: dict[str, Any] = {"group": group} if user is None else {"to": user_named(user)}
        message = send(body, **audience, author=author, data=data, by=f"command: {login_name()}")
        self.stdout.write(outcome(message))

    # tail

    def tail(self, group: str, after: int | None, **options: Any) -> None:
        checked_group(group)
        if after is not None:
            checked_offset(after)
        try:
            asyncio.run(self.follow(group, after))
        except KeyboardInterrupt:
            return
        except BrokenPipeError:
            # What is still buffered cannot be written either, and Python tries once more when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stdout.fileno())

    async def follow(self, group: str, after: int | None) -> None:
        async with aclosing(messages(group, after)) as frames:
            async for frame in frames:
                self.print(frame.fields)

    def print(self, fields: Fields) -> None:
        if fields["type"] == "message":
            self.stdout.write(line(fields))
            self.stdout.flush()
        elif fields["type"] == "reset" and fields.get("lost", True):
            self.stderr.write(f"{fields['reason']} Going on after {shown_offset(fields)}.")

    # renew

    def renew(self, groups: list[str], **options: Any) -> None:
        """Tells whoever is connected, and whoever comes back, that offsets may mean other messages by now."""
        log = current_process().log
        for group in groups:
            checked_group(group)
        for group in groups or log.groups():
            found = log.renew(group)
            self.stdout.write(f"{group}: {'a new epoch has begun' if found else 'not in the log'}.")

    # doctor

    def doctor(self, **options: Any) -> None:
        errors = 0
        styles = {"ok": self.style.SUCCESS, "warning": self.style.WARNING, "error": self.style.ERROR}
        for finding in examine():
            errors += finding.level == "error"
            self.stdout.write(f"{styles[finding.level](f'{finding.level:<8}')} {finding.text}")
            if finding.fix:
                self.stdout.write(f"{'':<8} {finding.fix}")
        if errors:
            raise CommandError(f"{errors} things are wrong." if errors > 1 else "One thing is wrong.")


def login_name() -> str:
    """The name of the operating system's user, not what the environment says; their number where it has no name."""
    try:
        import pwd  # which Windows has not
    except ImportError:
        return printable(getpass.getuser())
    try:
        return printable(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return str(os.getuid())


def user_named(name: str) -> Any:
    """The user of that name, as they sign in with it."""
    users = get_user_model()._default_manager
    try:
        return users.get_by_natural_key(name)
    except ObjectDoesNotExist:
        raise CommandError(f"There is no user {name!r}.") from None
    except Error as error:
        raise CommandError(f"Users cannot be looked up right now: {error}") from None


def add_group(parser: Any) -> None:
    parser.add_argument("--group", default=DEFAULT_GROUP, help="the group (default: %(default)s)")


def json_value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArgumentTypeError(f"it must be a JSON object, and this is not JSON ({error}).") from None


def typed_in() -> str:
    """Standard input as a message, without the end of its last line."""
    try:
        return sys.stdin.read().rstrip("\n")
    except UnicodeDecodeError as error:
        raise CommandError(f"What came from standard input is not text ({error}).") from None


def outcome(message: Message) -> str:
    if message.offset is not None:
        return f"Sent to {message.group_id} as message {message.offset}."
    if message.pk is not None:
        return f"Goes to {message.group_id} when the transaction is committed."
    return f"Sent live only to {message.group_id}: there is no message log that keeps it (see manage.py migrate)."


def line(fields: Fields) -> str:
    """A message in one line: offset, time, author and body between tabs."""
    guest = " (guest)" if fields.get("guest") else ""
    columns = (shown_offset(fields), shown_time(fields), printable(fields["author"]) + guest, printable(fields["body"]))
    return "\t".join(columns)


def shown_offset(fields: Fields) -> str:
    return "-" if fields.get("offset") is None else str(fields["offset"])


def shown_time(fields: Fields) -> str:
    """The time of sending, in the site's time zone; now for what is only live."""
    sent_at = fields.get("sent_at")
    when = datetime.fromisoformat(sent_at) if sent_at else timezone.now()
    return (timezone.localtime(when) if timezone.is_aware(when) else when).isoformat(timespec="seconds")


def printable(text: str) -> str:
    r"""Text that stays in its line and cannot steer a terminal: control characters as in ``\n``."""
    return "".join(char if char.isprintable() or char in JOINERS else escaped(char) for char in text)


def escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()
