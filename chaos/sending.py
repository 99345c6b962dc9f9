"""How publishers send inside a Django process: by this app, or as the Channels tutorial does."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model

from broadcast import send, send_many
from chaos import USER, text_of, tutorial
from chaos.settings import CHAOS_TUTORIAL

Keys = list[str]
Outcomes = dict[str, str]


class Undone(Exception):
    """Raised to have a transaction rolled back."""


def item_of(key: str) -> dict[str, Any]:
    number = int(key.rpartition("-")[2])
    return {"body": text_of(key), "data": {"number": number, "url": "/ü"} if number % 5 == 0 else None}


def one(group: str, key: str, **options: Any) -> None:
    if CHAOS_TUTORIAL:
        tutorial.tell(group, text_of(key))
    else:
        send(**item_of(key), group=group, **options)


def many(group: str, keys: Iterable[str], **options: Any) -> None:
    if CHAOS_TUTORIAL:
        for key in keys:
            tutorial.tell(group, text_of(key))
    else:
        send_many([item_of(key) for key in keys], group=group, **options)


def user() -> Any:
    return get_user_model()._default_manager.get_or_create(username=USER)[0]
