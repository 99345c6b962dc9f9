"""Whatever a header or a name says, the answer is yes or no, and never yes to what is somebody else's."""

import ipaddress
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import RequestFactory, override_settings
from hypothesis import example, given
from hypothesis import strategies as st

from broadcast.access.addresses import address_in, address_of
from broadcast.access.identity import ADDED_BY_BROWSERS, proves_itself
from broadcast.access.origins import accepts_handshake, is_from_another_site, is_part_of_a_page, is_prefetch
from broadcast.access.refusals import refusal
from broadcast.access.signed_names import is_signed, plain_name, refusal_of, signed_name
from tests.kit.fuzz import ANY_TEXT, HEADER, TEXT


@pytest.fixture(autouse=True)
def hosts(settings: Any) -> None:
    settings.ALLOWED_HOSTS, settings.CSRF_TRUSTED_ORIGINS, settings.USE_X_FORWARDED_HOST = ["example.com"], [], True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")


HOSTS = st.sampled_from(
    ["example.com", "EXAMPLE.com", "evil.example", "a.example.com", "[::1]", "example.com@evil.example"]
)
NEARLY = st.tuples(
    st.sampled_from(["http", "https", "HTTP", "null", "file", ""]),
    st.sampled_from(["://", ":", "//", ":/", "://@"]),
    HOSTS,
    st.sampled_from(["", ":80", ":8000", ":x", "/", "/example.com", ".", "\t", "\\", "#@example.com"]) | HEADER,
).map("".join)
ORIGINS = HEADER | NEARLY | st.tuples(HEADER, NEARLY).map("".join)
HANDSHAKES = st.fixed_dictionaries(
    {"origin": ORIGINS},
    optional={
        "host": HOSTS | HEADER,
        "x-forwarded-host": HOSTS | HEADER,
        "x-forwarded-proto": st.just("https") | HEADER,
    },
)


def is_own_page(page: str) -> bool:
    """True for what a browser could take for a page of the site, whose host is the only one allowed."""
    return urlsplit(page.lower()).hostname in ("example.com", "example.com.")


@given(HANDSHAKES, st.sampled_from(["ws", "wss"]))
@example({"origin": "http://[", "host": "example.com"}, "ws")
def test_a_handshake_of_another_sites_page_is_never_accepted(headers, scheme):
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    if accepts_handshake({"headers": raw, "scheme": scheme}):
        assert is_own_page(headers["origin"])


SAID = ["Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Dest", "Sec-Purpose", "X-Moz", "Authorization", "Cookie"]


@given(st.dictionaries(st.sampled_from(SAID), ORIGINS | st.sampled_from(["none", "same-origin", "empty"])))
def test_a_request_of_another_sites_page_is_always_known(headers):
    request = RequestFactory().get("/", headers={"Host": "example.com"} | headers)
    site, page = headers.get("Sec-Fetch-Site"), headers.get("Origin") or headers.get("Referer")
    if not is_from_another_site(request):
        assert site in ("none", "same-origin") or (site is None and (not page or is_own_page(page)))
    assert is_part_of_a_page(request) is (headers.get("Sec-Fetch-Dest", "empty") not in ("empty", "document"))
    assert is_prefetch(request) in (True, False)
    assert not (proves_itself(request) and headers.get("Cookie"))


CASES = st.sampled_from([str.lower, str.upper, str.title])
SPACES = st.sampled_from([" ", "  ", "\t", "\xa0", ""])


@given(
    st.sampled_from(sorted(ADDED_BY_BROWSERS)), CASES, st.sampled_from([" ", "  ", "\t", "\xa0", ""]), HEADER, HEADER
)
@example("basic", str.title, "\t", "cm9vdDpzZWNyZXQ=", "")
def test_what_browsers_add_proves_nothing_however_it_is_written(scheme, case, space, credentials, cookie):
    said = f"{space}{case(scheme)}{space}{credentials if space else ''}"
    assert not proves_itself(RequestFactory().get("/", headers={"Authorization": said}))
    bearer = RequestFactory().get("/", headers={"Authorization": "Bearer x"} | ({"Cookie": cookie} if cookie else {}))
    assert proves_itself(bearer) is not bool(cookie)


# Addresses


IP = st.ip_addresses().map(str)


@pytest.fixture(params=[0, 1, 2], scope="module")
def proxies(request: pytest.FixtureRequest) -> Iterator[int]:
    with override_settings(BROADCAST={"LIMITS": {"PROXIES": request.param}}):
        yield int(request.param)


PEERS = st.none() | ANY_TEXT | IP | st.sampled_from(["unix:", "::ffff:10.0.0.1", "fe80::1%eth0"])
CLAIMS = HEADER | st.lists(IP | HEADER).map(", ".join)


@given(PEERS, CLAIMS)
def test_an_address_is_one_or_none(proxies, peer, claims):
    found = address_of(peer, claims)
    assert found is None or ipaddress.ip_network(found)
    scope: Any = {"client": None if peer is None else [peer, 1]}
    assert address_in(scope | {"headers": [(b"x-forwarded-for", claims.encode("latin-1"))]}) == found


@given(CLAIMS)
def test_nothing_that_a_client_claims_changes_what_it_is_counted_by(proxies, claims):
    seen = [claims, "198.51.100.7", "10.0.0.1"][: 1 + proxies]  # each proxy has added one
    found = address_of("127.0.0.1" if proxies else "198.51.100.7", ", ".join(seen))
    assert found == "198.51.100.7"


# Signed names


NAMES = TEXT | TEXT.map("news:".__add__) | st.lists(TEXT, min_size=2).map(":".join)


@given(NAMES)
def test_a_name_that_this_site_has_not_signed_opens_nothing(name):
    assert refusal_of(name, None)
    refused = refusal(None, "subscribe", name)
    assert refused is not None
    assert str(refused).encode("utf-8")
    assert is_signed(name) is (plain_name(name) != name)


@given(st.integers(0), st.characters(codec="utf-8"))
def test_nor_does_a_signed_one_with_a_character_changed(place, char):
    name = signed_name("news")
    place %= len(name)
    changed = name[:place] + char + name[place + 1 :]
    assert bool(refusal_of(changed, None)) is (changed != name)
