"""All attacks, and which of them come together."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from abuse.attacks.sockets import SOCKETS
from abuse.attacks.web import WEB

ATTACKS = {attack.name: attack for attack in (*SOCKETS, *WEB)}


def waves(seed: str, names: list[str], at_once: int) -> Iterator[list[str]]:
    """The attacks in an order of chance, a few at a time, and all of them again in another order, without end."""
    random = Random(seed)
    while True:
        shuffled = random.sample(names, len(names))
        for at in range(0, len(shuffled), at_once):
            yield shuffled[at : at + at_once]
