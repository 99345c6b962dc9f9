"""Attacks by frames: more than anybody may send, and what no client sends."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from abuse import ARCHIVE, HALL, PIT, READ_ONLY
from abuse.attacks.attack import FOR_GOOD, INBOX, MESSAGE, PIECES, UNREAD, UNSENT, Attack
from abuse.frames import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, Burst, burst, frame, said, sized

POUR = 500  # frames in a burst of a flood
EMOJI = "🎉"


def control(opcode: int) -> Burst:
    return burst(frame(opcode=opcode), times=POUR)


def long_pings(random: Random) -> Burst:
    return burst(frame(random.randbytes(125), PING), times=POUR)


def texts(random: Random) -> Burst:
    return burst(said(type="ping"), times=POUR)


def refused(random: Random) -> Burst:
    return burst(*(random.choice(REFUSED) for _ in range(60)))


def messages(random: Random) -> Burst:
    size = random.choice((1, 50, 3900))
    group = random.choice((HALL, PIT, PIT, PIT))
    return burst(*(said(body=f"flood {'x' * size}", author="Mallory", group=group) for _ in range(30)))


def large_messages(random: Random) -> Burst:
    return burst(said(body=EMOJI * 4000, data={"é": "é" * 8000}, group=PIT), times=4)


def empty_pieces(random: Random) -> Burst:
    pieces = random.choice((300, 16000))
    begin, end = frame(b'{"type":"ping"', TEXT, 0), frame(b"}", CONTINUATION)
    return burst(begin, *([frame(b"", CONTINUATION, 0)] * pieces), end)


def small_pieces(random: Random) -> Burst:
    payload = b'{"body":"' + b"x" * 3000 + b'","group":"pit"}'
    pieces = [frame(payload[at : at + 1], CONTINUATION, 0) for at in range(1, len(payload))]
    return burst(frame(payload[:1], TEXT, 0), *pieces, frame(b"", CONTINUATION))


def endless_message(random: Random) -> Burst:
    pieces = [frame(b"x" * 4096, CONTINUATION, 0)] * 255
    return burst(frame(b"x", TEXT, 0), *pieces)


def half_a_frame(random: Random) -> Burst:
    whole = said(body="x" * random.choice((10, 200, 3000)), group=PIT)
    return Burst(whole * 3 + whole[: random.randrange(1, len(whole))], 4)


def unmasked(random: Random) -> Burst:
    return burst(frame(b'{"type":"ping"}', mask=None), said(type="ping"))


def masked_otherwise(random: Random) -> Burst:
    """Right lengths, and a mask that makes noise of the text."""
    return burst(frame(b'{"body":"hello"}', mask=random.randbytes(4)), times=30)


def too_long(random: Random) -> Burst:
    length = random.choice((1 << 20, (1 << 20) + 1, 16 << 20, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1))
    opcode = random.choice((TEXT, BINARY, CONTINUATION, PING))
    return Burst(bytes([FIN | opcode]) + sized(length) + bytes(4) + b"x" * 60_000, 1)


def long_by_the_wrong_size(random: Random) -> Burst:
    head = random.choice((b"\xfe" + (5).to_bytes(2), b"\xff" + (5).to_bytes(8), b"\xff" + (200).to_bytes(8)))
    return Burst((b"\x81" + head + bytes(4) + b"x" * 200) * 5, 5)


def reserved(random: Random) -> Burst:
    bits = random.choice((0x10, 0x20, 0x40, 0x70))
    opcode = random.choice((3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF))
    return burst(frame(b"hello", TEXT, FIN | bits), frame(b"hello", opcode), frame(b"hello", opcode, 0))


def broken_controls(random: Random) -> Burst:
    wrong = (frame(b"x", PING, 0), frame(b"x" * 126, PING), frame(b"x" * 4000, PONG), frame(b"x", CONTINUATION))
    return burst(random.choice(wrong), frame(b"x", TEXT, 0), frame(b"y", TEXT))


def closes(random: Random) -> Burst:
    code = random.choice((0, 1, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535, 1000, 4502))
    payload = random.choice((code.to_bytes(2), b"\x03", code.to_bytes(2) + b"\xff\xfe", code.to_bytes(2) + b"x" * 123))
    return burst(frame(payload, CLOSE), said(body="after the end", group=PIT), frame(opcode=PING))


def not_utf8(random: Random) -> Burst:
    wrong = (b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x9f\x8e", random.randbytes(40))
    return burst(frame(b'{"body":"' + random.choice(wrong) + b'"}'))


def nested(random: Random) -> Burst:
    return burst(*(random.choice(ODD_JSON) for _ in range(10)))


def binary(random: Random) -> Burst:
    return burst(frame(random.randbytes(random.choice((0, 10, 1000))), BINARY), times=15)


def noise(random: Random) -> Burst:
    return Burst(random.randbytes(4000), 1)


def new_groups(random: Random) -> Burst:
    """Asks for ever new groups, and leaves them."""
    names = [f"{READ_ONLY}.h{random.getrandbits(40)}" for _ in range(100)]
    pairs = ((said(type="subscribe", group=name), said(type="unsubscribe", group=name)) for name in names)
    return burst(*(each for pair in pairs for each in pair))


def odd_groups(random: Random) -> Burst:
    names: tuple[Any, ...] = (
        "staff",
        "user.1",
        "",
        "..",
        "a" * 81,
        "room.*",
        "room.x:1tKq3m:4hQbX0",
        "roöm.x",
        7,
        None,
        [],
        {},
    )
    return burst(*(said(type="subscribe", group=random.choice(names)) for _ in range(60)))


def resumes(random: Random) -> Burst:
    """Has all that is kept sent again and again."""
    group = random.choice((HALL, PIT, ARCHIVE))
    return burst(said(type="subscribe", group=group, after=0, epoch="void"), times=20)


def odd_positions(random: Random) -> Burst:
    positions: tuple[Any, ...] = (-1, 2**63, 2**64, 1e400, 0.5, "0", True, [], {}, -(10**400))
    afters = [random.choice(positions) for _ in range(40)]
    return burst(
        *(said(type="subscribe", group=HALL, after=after, epoch=random.choice(("void", 1))) for after in afters)
    )


def same_ref(random: Random) -> Burst:
    """The same ref under many names and in two groups, in every connection of a wave."""
    ref = "6f1c1a52-4a0e-4d7b-9d3e-2f6f0b9f8a11"
    names = [f"guest{random.randrange(5)}" for _ in range(30)]
    return burst(*(said(body=f"{name} says", author=name, ref=ref, group=PIT) for name in names))


def nothing(random: Random) -> Burst:
    return Burst(b"", 0)


def deep(opening: bytes, depth: int) -> bytes:
    return b'{"body":"x","data":' + opening * depth


REFUSED = (
    said(body=""),
    said(body="x", author="Server"),
    said(type="nonsense"),
    said(body="x", group="staff"),
    said(body="x", ref="none"),
    frame(b"not json"),
    frame(b"[]"),
    frame(b""),
)
ODD_JSON = (
    frame(deep(b"[", 15_000)),
    frame(deep(b'{"a":', 15_000)),
    frame(deep(b"[", 15_000) + b"]" * 15_000 + b"}"),
    frame(b'{"body":' + b"9" * 50_000 + b"}"),
    frame(b'{"body":"x","data":{"n":' + b"1" * 5_000 + b'},"group":"pit"}'),
    frame(b'{"body":"x","data":{"n":1e400},"group":"pit"}'),
    frame(b'{"body":"x","data":{"n":NaN},"group":"pit"}'),
    frame(b'{"body":"x","data":{"n":-Infinity},"group":"pit"}'),
    frame(b"{" + b",".join(b'"body":"x%d"' % n for n in range(5_000)) + b"}"),
    frame(b'{"body":"\\ud800","group":"pit"}'),
    frame(b'{"body":"a\\u0000b","group":"pit"}'),
    frame('\ufeff{"body":"x"}'.encode()),
    frame('{"body":"x"}'.encode("utf-16")),
    frame(json.dumps({"body": "x", "data": {str(n): n for n in range(3000)}}).encode()),
)

SOCKETS = (
    Attack("ping flood", lambda random: control(PING)),
    Attack("ping flood not read", lambda random: control(PING), reads=False, holds=UNSENT),
    Attack("long ping flood", long_pings),
    Attack("pong flood", lambda random: control(PONG)),
    Attack("text flood", texts, holds=UNREAD),
    Attack("refused text flood", refused, holds=UNREAD),
    Attack("message flood of one address", messages, addresses=1, holds=UNREAD + INBOX),
    Attack("large messages", large_messages, connections=10, addresses=2, holds=MESSAGE + UNREAD + INBOX),
    Attack("empty pieces", empty_pieces, holds=PIECES + UNREAD),
    Attack("one-byte pieces", small_pieces, holds=PIECES + UNREAD),
    Attack("messages that never end", endless_message, connections=60, times=1, stays=FOR_GOOD, holds=2 * MESSAGE),
    Attack("resets in a frame", half_a_frame, times=1, holds=UNREAD),
    Attack("unmasked frames", unmasked, times=1, stays=2.0),
    Attack("wrongly masked frames", masked_otherwise),
    Attack("frames too long", too_long, times=1, stays=2.0, holds=MESSAGE),
    Attack("lengths of the wrong size", long_by_the_wrong_size, times=1, stays=2.0),
    Attack("reserved bits and opcodes", reserved, times=1, stays=2.0),
    Attack("broken control frames", broken_controls, times=1, stays=2.0),
    Attack("odd closes", closes, times=1, stays=2.0),
    Attack("invalid UTF-8", not_utf8, times=1, stays=2.0),
    Attack("nesting and numbers", nested, holds=UNREAD),
    Attack("binary frames", binary, holds=UNREAD),
    Attack("noise", noise, times=1, stays=2.0),
    Attack("subscribe storm", new_groups, holds=UNREAD + INBOX),
    Attack("odd groups", odd_groups, holds=UNREAD),
    Attack("resume storm", resumes, connections=10, holds=UNREAD + UNSENT),
    Attack("odd positions", odd_positions, holds=UNREAD),
    Attack(
        "replays not read",
        nothing,
        opening=f"/ws/{ARCHIVE}?v=1&after=0&epoch=void",
        connections=100,
        reads=False,
        times=0,
        stays=FOR_GOOD,
        holds=UNSENT,
    ),
    Attack("refs that collide", same_ref, pause=1.5, holds=INBOX),
    Attack("1100 sockets of one address", nothing, connections=1100, addresses=1, times=0, stays=FOR_GOOD, rest=2.0),
    Attack("sockets that come and go", nothing, times=0, rest=0.0),
)
