"""Texts of the elements, in the reader's language; texts.js has the same in English."""

from __future__ import annotations

import json

from django.conf import settings
from django.utils.translation import gettext, gettext_noop, trans_real

LEVELS = {
    "info": gettext_noop("Information"),
    "success": gettext_noop("Success"),
    "warning": gettext_noop("Warning"),
    "error": gettext_noop("Error"),
}

ANNOUNCEMENTS = LEVELS | {
    "announcements": gettext_noop("Announcements"),
    "dismiss_one": gettext_noop("Dismiss: {n}"),
    "more": gettext_noop("{n} more"),
    "clear": gettext_noop("Dismiss all"),
}

BELL = LEVELS | {
    "notifications": gettext_noop("Notifications"),
    "notified": gettext_noop("Notifications, {n} new"),
    "nothing": gettext_noop("No notifications yet."),
    "unread": gettext_noop("New"),
    "mark": gettext_noop("Mark all as read"),
}

FEED = {
    "connecting": gettext_noop("Connecting…"),
    "live": gettext_noop("Live"),
    "reconnecting": gettext_noop("Reconnecting"),
    "closed": gettext_noop("Disconnected."),
    "seconds": gettext_noop("in {n} s"),
    "retry": gettext_noop("Connect now"),
    "messages": gettext_noop("Messages"),
    "news": gettext_noop("New messages"),
    "jump": gettext_noop("New messages: {n}"),
    "empty": gettext_noop("No messages yet."),
    "gap": gettext_noop("Some messages are no longer available"),
    "guest": gettext_noop("guest"),
    "server": gettext_noop("announcement"),
    "pending": gettext_noop("On their way"),
    "unsent": gettext_noop("Not sent yet"),
    "again": gettext_noop("Edit and send again"),
    "name": gettext_noop("Your name"),
    "guest_name": gettext_noop("Guest {n}"),
    "reserved": gettext_noop("“Server” is the name of the site itself. Please choose another."),
    "as": gettext_noop("Writing as"),
    "message": gettext_noop("Message"),
    "write": gettext_noop("Write a message"),
    "send": gettext_noop("Send"),
    "keys": gettext_noop("Enter sends, Shift + Enter starts a new line."),
    "surplus": gettext_noop("The message is too long by {n}."),
    "refused": gettext_noop("Not sent: {n}"),
    "changed": gettext_noop("You have signed in or out meanwhile. Reload the page to go on."),
}

TEXTS = ANNOUNCEMENTS | BELL | FEED


def translated() -> dict[str, str]:
    """All texts in the active language, which is looked up once for them all."""
    translate = trans_real.catalog().gettext if settings.USE_I18N else gettext
    return {name: translate(text) for name, text in TEXTS.items()}


def differing(texts: dict[str, str], known: dict[str, str]) -> str:
    """The texts that differ from those that an element's script has, as JSON; empty if none differ."""
    told = {name: texts[name] for name, text in known.items() if texts[name] != text}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")) if told else ""
