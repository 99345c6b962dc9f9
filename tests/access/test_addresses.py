"""From where a visitor comes, by the peer and by what proxies have written down."""

import logging

import pytest
from django.test import RequestFactory

from broadcast.access.addresses import address_behind, address_in
from broadcast.engine.process import current_process


def both(peer: str | None, forwarded: str | None) -> str | None:
    """The address by a request and by a scope, which must be the same."""
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    request = RequestFactory().get("/", headers=headers, REMOTE_ADDR=peer)
    raw = [] if forwarded is None else [(b"x-forwarded-for", forwarded.encode("latin-1"))]
    found = address_in({"type": "websocket", "client": None if peer is None else [peer, 1], "headers": raw})
    assert address_behind(request) == found
    return found


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        *((peer, None) for peer in ("127.0.0.1", "10.1.2.3", "172.20.0.1", "192.168.1.1", "100.64.0.1")),
        *((peer, None) for peer in ("::1", "fd00::1", "fe80::1%eth0", "::ffff:10.0.0.1", "", "unix:", "test", None)),
    ],
)
def test_without_proxies_it_is_the_peer(settings, peer, address):
    settings.BROADCAST = {}
    assert both(peer, None) == address
    if address:  # what the client claims changes nothing
        assert both(peer, "203.0.113.1") == address


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (1, "203.0.113.1, 198.51.100.7", "198.51.100.7"),
        (2, "203.0.113.1, 198.51.100.7, 10.0.0.1", "198.51.100.7"),
        (2, "198.51.100.7", None),  # it came past a proxy, and claims what it likes
        (1, "198.51.100.7:4711", "198.51.100.7"),
        (1, "[2001:db8:1:2::9]:4711", "2001:db8:1:2::/64"),
        (1, "2001:db8:1:2::9", "2001:db8:1:2::/64"),
        (1, "203.0.113.1,10.9.8.7", "10.9.8.7"),  # of the site's own network, and still somebody's own
        *((1, forwarded, None) for forwarded in (None, "", " , ", "unknown", "_hidden", "1.2.3", "\xff", "x" * 5000)),
    ],
)
def test_behind_proxies_it_is_counted_from_the_right(settings, proxies, forwarded, address):
    settings.BROADCAST = {"LIMITS": {"PROXIES": proxies}}
    assert both("127.0.0.1", forwarded) == address


def test_what_a_server_took_for_the_address_by_a_claim_is_not_believed(settings, monkeypatch):
    settings.BROADCAST = {}
    monkeypatch.setattr(current_process(), "believes_claims", True)
    assert both("203.0.113.1", "203.0.113.1, 198.51.100.7") is None
    assert both("203.0.113.1", None) == "203.0.113.1"


def test_a_proxy_that_is_not_counted_is_told_of_once(settings, caplog):
    settings.BROADCAST = {}
    with caplog.at_level(logging.WARNING, "broadcast"):
        for _ in range(3):
            both("10.0.0.1", "203.0.113.1")
    assert caplog.text.count('["PROXIES"] does not say how many') <= 1  # another test may have had it said
