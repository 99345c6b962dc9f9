"""A fleet under chaos: several servers, many clients and publishers, and faults; then a look at what got lost.

`python -m chaos --seconds 300 --seed 1` runs it. `fleet` is what is put to the test, `lanes` publish, `readers` and
`pages` follow, `faults` break things, `judge` judges, `run` directs. `settings`, `layer`, `database`, `urls`, `acts`,
`script`, `asgi`, `wsgi` and `tutorial` are loaded by the processes that are put to the test; `proxy` lies between them.
"""

from zlib import crc32

USER = "ann"  # who signs some of the messages, and whose row is locked at times
GROUPS = ("broadcast", "news", "desk", "games")

SAYINGS = ("Grüße, 世界 🎉", 'a "quoted" \\ thing', "two\nlines", "plain words", "<b>&amp;</b>", "Ω≈ç√∫µ≤≥÷")


def text_of(key: str) -> str:
    """The text of the message with this key: the same in every process, and not like its neighbours'."""
    chance = crc32(key.encode())
    return f"{key} {SAYINGS[chance % len(SAYINGS)]} {'.' * (chance % 90)}".rstrip()


def key_of(text: str) -> str:
    return text.split(" ", 1)[0]
