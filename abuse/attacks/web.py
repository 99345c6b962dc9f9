"""Attacks by HTTP, and by what is hardly HTTP: requests in loops, odd ones, slow ones, and handshakes."""

from __future__ import annotations

import json
from random import Random

from abuse import ARCHIVE, HALL, PIT, READ_ONLY
from abuse.attacks.attack import ANSWER, FOR_GOOD, KIB, MESSAGE, Attack
from abuse.frames import Burst, burst, handshake, request

HISTORY = f"/broadcast/?format=json&limit=500&group={ARCHIVE}"
AN_ADDRESS = "198.51.100.7"

PATHS = (
    *("/", "/broadcast/", "/broadcast/-/", "/broadcast/-", "/broadcast/x", "/broadcast/a/b/c", "/admin/", "/static/"),
    *("/broadcast/%00", "/broadcast/%0d%0aX:1", "/broadcast/%ff%fe", "/broadcast/../../etc/passwd", "//", "/%2e%2e/"),
    *("/broadcast/%F0%9F%8E%89", "/broadcast/" + "a" * 9000, "/broadcast/" + "%41" * 3000, "/ws", "/ws/x?v=1", "*"),
    *("/static/../project/settings.py", "/static/%2e%2e/manage.py", "http://evil.test/", "/\udcff", "/?a=1&" * 50),
    *("/broadcast/?format=json&after=-1", "/broadcast/?format=json&after=9" + "9" * 400, "/broadcast/?limit=1e9"),
    *("/broadcast/?format=json&limit=-1", "/broadcast/?format=json&group=%00", "/broadcast/?format=json&group=staff"),
    *("/broadcast/?format=json&group=user.1", "/broadcast/?format=json&epoch=%ff", "/broadcast/?" + "x=1&" * 2000),
)
METHODS = (
    "GET",
    "GET",
    "GET",
    "POST",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PATCH",
    "get",
    "X" * 500,
)
HEADERS = (
    *("Accept: application/json", "Accept: " + "text/html;q=0.1," * 300, "Accept: */*;q=nan", "Cookie: sessionid=none"),
    *(
        "Cookie: sessionid=" + "a" * 4000,
        "Cookie: csrftoken=\udcff; =; ;;;",
        "Origin: http://evil.test",
        "Origin: null",
    ),
    *("Referer: " + "x" * 3000, "Sec-Fetch-Site: cross-site", "Authorization: Bearer x", "Authorization: Basic =="),
    *(
        "Content-Type: application/json; charset=nonsense",
        "Content-Type: multipart/form-data; boundary=",
        "Expect: 100",
    ),
    *("X-HTTP-Method-Override: DELETE", "Range: bytes=0-", "Upgrade: websocket", "Upgrade: h2c", "If-None-Match: *"),
    *("Accept-Language: " + "xx-" * 500, "Connection: close", "Transfer-Encoding: identity", "Host: evil.test"),
)
BODIES = (
    *(b"", b"body=", b"body=x&author=Server", b"body=\xff\xfe", b"body=" + b"x" * 20_000, b"&" * 3_000, b"%" * 3_000),
    *(b'{"body":"x"}', b"[" * 20_000, b'{"body":' + b"9" * 20_000 + b"}", b'{"body":"\\ud800"}', b"\x00" * 100),
    json.dumps({"body": "x", "ref": "none", "group": "staff", "announce": True}).encode(),
    b"--x\r\nContent-Disposition: form-data; name=body\r\n\r\nx\r\n",
)
HANDSHAKES = (
    ("/ws?v=1", "Origin: http://evil.test"),
    ("/ws?v=1", "Origin: null"),
    ("/ws?v=1", "Host: evil.test"),
    ("/ws?v=1", "Origin: " + "x" * 9000),
    ("/ws?v=1", "Sec-WebSocket-Version: 99"),
    ("/ws?v=1", "Sec-WebSocket-Key: short"),
    ("/ws?v=1", "Sec-WebSocket-Protocol: " + "a," * 500),
    ("/ws?v=1", "Sec-WebSocket-Extensions: permessage-deflate; " * 50),
    ("/ws?v=1", "Cookie: sessionid=" + "a" * 3000),
    ("/ws?v=1", "Cookie: sessionid=\udcff\udcfe"),
    ("/", "X: 1"),
    ("/broadcast/x", "X: 1"),
    ("/ws/staff?v=1", "X: 1"),
    ("/ws/" + "a" * 4000, "X: 1"),
    ("/ws/room.x:1tKq3m:4hQbX0?v=1", "X: 1"),
    ("/ws/%00?v=1", "X: 1"),
    ("/ws?v=1&after=-1&epoch=", "X: 1"),
    ("/ws?v=1&after=" + "9" * 5000 + "&epoch=void", "X: 1"),
    ("/ws?join=none&v=1&" + "x=1&" * 2000, "X: 1"),
)


def histories(random: Random) -> Burst:
    return burst(request("GET", HISTORY), times=4)


def pages(random: Random) -> Burst:
    return burst(request("GET", "/"), request("GET", f"/broadcast/?format=json&group={HALL}"), times=5)


def odd_requests(random: Random) -> Burst:
    def one() -> bytes:
        headers = random.sample(HEADERS, random.randrange(4))
        return request(random.choice(METHODS), random.choice(PATHS), *headers, body=random.choice(BODIES))

    return burst(*(one() for _ in range(5)))


def broken_requests(random: Random) -> Burst:
    lines = (
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random.randbytes(500),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nhello\r\n",
        b"POST /broadcast/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 3000 + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded\r\nNo colon\r\n: no name\r\nX\x00: y\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        random.randbytes(3000),
    )
    return Burst(random.choice(lines), 1)


def posts(random: Random) -> Burst:
    body = f"body=post+{random.getrandbits(30)}&group={PIT}".encode()
    return burst(request("POST", "/broadcast/", FORM, body=body), times=10)


def forged_posts(random: Random) -> Burst:
    """Claims to be somebody else each time, before what the proxy adds."""

    def claim() -> str:
        numbers = ".".join(str(random.randrange(256)) for _ in range(4))
        claims = (numbers, "127.0.0.1", "::1", "unknown", f"{AN_ADDRESS}, {numbers}", "[::ffff:1.2.3.4]:80", ",,,", "é")
        return random.choice(claims)

    body = f"body=forged&group={PIT}".encode()
    return burst(*(request("POST", "/broadcast/", FORM, body=body, forwarded=claim()) for _ in range(10)))


def announcements(random: Random) -> Burst:
    ways = (f"/broadcast/x{random.getrandbits(30)}", "/broadcast/-1", "/broadcast/hello%20world")
    return burst(*(request(random.choice(("GET", "POST")), random.choice(ways)) for _ in range(10)))


def new_rooms(random: Random) -> Burst:
    """Reads ever new groups, of which none has a message."""
    names = [f"{READ_ONLY}.h{random.getrandbits(40)}" for _ in range(20)]
    return burst(*(request("GET", f"/broadcast/?format=json&group={name}") for name in names))


def a_beginning(random: Random) -> Burst:
    whole = random.choice((handshake("/ws?v=1"), request("GET", "/"), request("POST", "/", FORM, body=b"x" * 50)))
    return Burst(whole[: random.randrange(1, len(whole) - 60)], 1)


def a_letter(random: Random) -> Burst:
    return Burst(b"x", 0)


def slow_body(random: Random) -> Burst:
    head = request("POST", "/broadcast/", FORM, "Content-Length: 2000000")
    return Burst(head + b"body=" + b"x" * 60_000, 1)


def nothing(random: Random) -> Burst:
    return Burst(b"", 0)


def odd_handshakes(random: Random) -> Burst:
    path, header = random.choice(HANDSHAKES)
    return burst(handshake(path, header))


def early_talk(random: Random) -> Burst:
    return Burst(handshake("/ws?v=1") + b"x" * 100_000, 1)


def dropped_handshake(random: Random) -> Burst:
    return burst(handshake("/ws?v=1"))


FORM = "Content-Type: application/x-www-form-urlencoded"


def histories_in_a_row(random: Random) -> Burst:
    """Asks for as much as may be asked for without waiting for an answer."""
    return burst(request("GET", HISTORY), times=100)


WEB = (
    Attack("histories of 500 messages", histories, None, connections=4, holds=2 * ANSWER),
    Attack("history not read", histories, None, connections=60, reads=False, times=1, stays=FOR_GOOD, holds=4 * ANSWER),
    Attack(
        "histories in a row not read",
        histories_in_a_row,
        None,
        connections=10,
        reads=False,
        times=1,
        stays=FOR_GOOD,
        holds=4 * ANSWER,
    ),
    Attack("pages and logs in a loop", pages, None, connections=4, holds=ANSWER),
    Attack("odd requests", odd_requests, None, times=1, stays=2.0, holds=ANSWER),
    Attack("broken requests", broken_requests, None, times=1, stays=2.0, holds=256 * KIB),
    Attack("posts of one address", posts, None, connections=4, addresses=1, holds=64 * KIB),
    Attack("posts of forged addresses", forged_posts, None, connections=4, addresses=1, holds=64 * KIB),
    Attack("announcements", announcements, None, connections=4, holds=64 * KIB),
    Attack("ever new rooms by HTTP", new_rooms, None, connections=4, holds=64 * KIB),
    Attack("half-open connections", nothing, None, connections=300, times=0, stays=FOR_GOOD),
    Attack("half a request", a_beginning, None, connections=200, times=1, stays=FOR_GOOD, holds=16 * KIB),
    Attack("a letter at a time", a_letter, None, connections=50, pause=0.3, holds=16 * KIB),
    Attack("bodies that never come", slow_body, None, connections=50, times=1, stays=FOR_GOOD, holds=2 * MESSAGE),
    Attack("odd handshakes", odd_handshakes, None, times=1, stays=2.0, holds=64 * KIB),
    Attack("talk before the answer", early_talk, None, times=1, stays=2.0, holds=256 * KIB),
    Attack("handshakes dropped at once", dropped_handshake, None, times=1, rest=0.0),
)
