"""The cookies in which a browser keeps what a guest has read and dismissed; scripts write them too, in the same form.

``broadcast_dismissed`` has ``<epoch>:<offset>.<offset>~<epoch>:…``, and ``broadcast_read`` ``<epoch>:<offset>~…``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from django.http import HttpRequest, HttpResponse

from ..engine.storage.receipts import Place, Seen
from ..models import Receipt
from .announcements import COOKIE as DISMISSED

READ = "broadcast_read"
SECONDS = 31 * 24 * 3600  # a day more than a list goes back
MOST_OFFSETS = 30
MOST_EPOCHS = 8

EPOCH = re.compile(r"[A-Za-z0-9_-]{1,22}")
OFFSET = re.compile(r"[0-9]{1,18}")

Offsets = dict[str, list[int]]
"""Offsets by their epochs, those of the last change last."""


def seen_by(cookies: Mapping[str, str]) -> Seen:
    """What a browser's cookies say was read and dismissed; what makes no sense in them says nothing."""
    read, dismissed = (written(cookies.get(name, "")) for name in (READ, DISMISSED))
    return Seen(
        {epoch: max(offsets) for epoch, offsets in read.items()},
        {epoch: set(offsets) for epoch, offsets in dismissed.items()},
    )


def written(cookie: str) -> Offsets:
    entries = [entry.partition(":") for entry in cookie.split("~")]
    offsets = {
        epoch: [int(offset) for offset in text.split(".") if OFFSET.fullmatch(offset)]
        for epoch, _, text in entries
        if EPOCH.fullmatch(epoch)
    }
    return {epoch: found for epoch, found in offsets.items() if found}


def keep(request: HttpRequest, response: HttpResponse, kind: str, places: Sequence[Place]) -> None:
    """Has the browser keep that its user has read up to each of these places, or dismissed it."""
    name = READ if kind == Receipt.Kind.READ else DISMISSED
    offsets = written(request.COOKIES.get(name, ""))
    for place in places:
        before = offsets.pop(place.epoch, [])
        together = [*(each for each in before if each != place.offset), place.offset]
        offsets[place.epoch] = [max(together)] if kind == Receipt.Kind.READ else together[-MOST_OFFSETS:]
    kept = list(offsets.items())[-MOST_EPOCHS:]
    value = "~".join(f"{epoch}:{'.'.join(map(str, found))}" for epoch, found in kept)
    response.set_cookie(name, value, max_age=SECONDS, samesite="Lax", secure=request.is_secure())
