"""A fleet under chaos: several servers, many clients and publishers, and faults; then a look at what got lost.

`python -m chaos --seconds 300 --seed 1` runs it. The modules are the roles: `fleet`, `clients`, `publishers`
and `faults` play, `check` judges, `run` directs. `settings`, `layer`, `urls`, `acts`, `script`, `wsgi` and `tutorial`
are loaded by the processes that are put to the test.
"""

from zlib import crc32

GROUPS = ("broadcast", "news", "desk", "games")

SAYINGS = ("Grüße, 世界 🎉", 'a "quoted" \\ thing', "two\nlines", "plain words", "<b>&amp;</b>", "Ω≈ç√∫µ≤≥÷")


def text_of(key: str) -> str:
    """The text of the message with this key: the same in every process, and not like its neighbours'."""
    chance = crc32(key.encode())
    return f"{key} {SAYINGS[chance % len(SAYINGS)]} {'.' * (chance % 90)}".rstrip()


def key_of(text: str) -> str:
    return text.split(" ", 1)[0]
