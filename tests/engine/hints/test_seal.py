"""The seal of notices, and what keeps a recorded one from being played again."""

import random

import pytest

from broadcast.engine.hints.seal import WINDOW, Repeats, Seal


@pytest.mark.parametrize(
    ("key", "fallbacks", "opens"),
    [("one", [], True), ("two", ["one"], True), ("two", ["three"], False)],
)
def test_it_is_opened_with_the_key_it_was_made_with_or_a_fallback(settings, key, fallbacks, opens):
    seal = Seal()
    settings.SECRET_KEY = "one"
    sealed = seal.close(b'["text"]')
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = key, fallbacks
    assert seal.open(sealed) == (b'["text"]' if opens else None)


def test_whatever_is_altered_does_not_open():
    seal = Seal()
    sealed = seal.close(b'["text"]')
    for place in range(len(sealed)):
        assert seal.open(sealed[:place] + b"~" + sealed[place + 1 :]) is None
        assert seal.open(sealed[:place]) is None


def test_each_number_of_a_sender_is_new_once_in_whatever_order():
    chance, repeats = random.Random(1), Repeats()
    numbers = [number for number in range(1, 500) for _ in range(2)]
    chance.shuffle(numbers)
    seen: set[tuple[str, int]] = set()
    for number in numbers:
        for sender in "ab":
            assert repeats.is_new(sender, number) == ((sender, number) not in seen)
            seen.add((sender, number))
    assert repeats.is_new("a", 10 * WINDOW)
    assert not repeats.is_new("a", 1)
