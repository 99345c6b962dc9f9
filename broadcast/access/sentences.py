"""What visitors are told of an error: strangers a sentence that is fit for anybody, staff the reason too.

Every answer, over HTTP and WebSocket, gets its sentence from ``told``. What it leaves out is a line in the log.
"""

from __future__ import annotations

import logging
from typing import Any

from django.utils.translation import gettext

from ..engine.log_lines import say
from ..exceptions import BroadcastError
from .identity import is_signed_in


def told(error: BroadcastError, user: Any) -> str:
    """The sentence that ``user`` (None: a guest) is told of an error; the log gets a line with the reason."""
    sentence, detail = sentence_of(error), detail_of(error)
    who = f"user {user.pk}" if is_signed_in(user) else "a guest" if detail else "a visitor"  # of whom it was not asked
    say(
        logging.WARNING if detail else logging.INFO,
        "Refused %s (%s): %s",
        who,
        error.code,
        " ".join(filter(None, (sentence, detail))),
        cause=f"Refused ({error.code}) {detail.partition(': ')[0]}",
    )
    return f"{sentence} {detail}" if detail and is_staff(user) else sentence


def sentence_of(error: BroadcastError) -> str:
    """What anybody may know of an error, in the language of whoever asks, where it is known and there is one."""
    return gettext(error.sentence) if error.sentence else str(error)


def detail_of(error: BroadcastError) -> str:
    """What only staff may know: the setting, or what the database said, but not the statement that it quotes below."""
    return (error.detail or (str(error) if error.sentence else "")).partition("\n")[0]


def is_staff(user: Any) -> bool:
    """True for those who are told settings and causes."""
    return is_signed_in(user) and bool(getattr(user, "is_staff", False))
