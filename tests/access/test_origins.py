"""Origins: from which pages a handshake or a request may come."""

import pytest
from django.test import RequestFactory

from broadcast.access.origins import accepts_origin, is_from_another_site, is_of_this_site, is_prefetch


def handshake(origin: str | None, host: str | None = "example.com", **more: str) -> dict[bytes, bytes]:
    headers = {"origin": origin, "host": host} | {name.replace("_", "-"): value for name, value in more.items()}
    return {name.encode(): value.encode("latin-1") for name, value in headers.items() if value is not None}


@pytest.fixture(autouse=True)
def hosts(settings):
    settings.ALLOWED_HOSTS = ["example.com", "[2001:db8::1]"]
    settings.CSRF_TRUSTED_ORIGINS = []
    settings.USE_X_FORWARDED_HOST = False


def test_a_program_sends_no_origin():
    assert all(accepts_origin(handshake(None, host)) for host in ("example.com", "evil.example", None))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://example.com", "example.com"),
        ("https://example.com", "example.com"),
        ("http://example.com:8000", "example.com:8000"),
        ("http://example.com:80", "example.com"),
        ("http://example.com", "example.com:80"),
        ("https://example.com:443", "example.com"),
        ("https://example.com", "example.com:443"),
        ("HTTP://Example.COM", "EXAMPLE.com"),
        ("http://example.com", "example.com."),
        ("http://[2001:db8::1]:8000", "[2001:db8::1]:8000"),
    ],
)
def test_a_page_of_the_same_host_and_port_is_accepted(origin, host):
    assert accepts_origin(handshake(origin, host))


OTHER_PAGES = {
    "another port": ["http://example.com:8000", "https://example.com:80", "http://example.com:443"],
    "another host": ["http://evil.example", "http://sub.example.com", "http://example.com.evil.example"],
    "a host that ends alike": ["http://evilexample.com"],
    "no address": ["null", "", "example.com", "//example.com", "http:", "http://", "file://", "\xff\xfe"],
    "another scheme": ["ftp://example.com", "chrome-extension://example.com"],
    "not well formed": ["http://[::1", "http://[::1]evil", "http://example.com:port", "http://exa mple.com"],
    "with a user": ["http://user@example.com"],
}


@pytest.mark.parametrize("origins", OTHER_PAGES.values(), ids=OTHER_PAGES)
def test_any_other_page_is_refused(origins):
    assert [origin for origin in origins if accepts_origin(handshake(origin))] == []


def test_the_host_is_one_of_the_site_and_well_formed():
    assert not accepts_origin(handshake("http://rebound.example", "rebound.example"))
    for garbled in ("exa mple.com", "[::1", "example.com:port"):
        assert not accepts_origin(handshake("http://example.com", garbled))


@pytest.mark.parametrize("host", ["", None])
def test_without_a_host_the_origin_is_to_be_one_of_the_site(host):
    origins = ["http://example.com:8000", "http://evil.example", "http://"]
    assert [accepts_origin(handshake(origin, host)) for origin in origins] == [True, False, False]


@pytest.mark.parametrize("debug", [True, False])
def test_without_allowed_hosts_the_site_is_this_machine(settings, debug):
    settings.DEBUG, settings.ALLOWED_HOSTS = debug, []
    for host in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000", "demo.localhost:8000"):
        assert accepts_origin(handshake(f"http://{host}", host))
    assert not accepts_origin(handshake("http://example.com"))


@pytest.mark.parametrize(
    ("allowed", "origin", "host", "accepted"),
    [
        ("*", "http://anything.example", "anything.example", True),
        ("*", "http://evil.example", "anything.example", False),
        ("*", "http://no host", "no host", False),
        (".example.com", "https://a.example.com", "a.example.com", True),
        (".example.com", "https://example.com", "example.com", True),
        (".example.com", "https://a.example.com", "b.example.com", False),
        (".example.com", "https://evilexample.com", "evilexample.com", False),
    ],
)
def test_hosts_may_be_allowed_by_wildcards_but_each_page_only_to_its_own(settings, allowed, origin, host, accepted):
    settings.ALLOWED_HOSTS = [allowed]
    assert accepts_origin(handshake(origin, host)) is accepted


@pytest.mark.parametrize(
    ("trusted", "accepted", "refused"),
    [
        (
            "HTTPS://Front.example",
            ["https://front.example", "https://FRONT.Example"],
            ["http://front.example", "https://front.example:8443", "https://a.front.example", "null"],
        ),
        ("https://dev.example:8443", ["https://dev.example:8443"], ["https://dev.example"]),
        (
            "https://*.front.example",
            ["https://a.front.example", "https://a.b.front.example", "https://front.example"],
            ["http://a.front.example", "https://evilfront.example", "https://evil.example/.front.example"],
        ),
        ("capacitor://localhost", ["capacitor://localhost"], ["capacitor://elsewhere"]),
    ],
)
def test_a_trusted_origin_is_accepted(settings, trusted, accepted, refused):
    settings.CSRF_TRUSTED_ORIGINS = ["https://other.example", trusted]
    assert [origin for origin in accepted + refused if accepts_origin(handshake(origin))] == accepted


def test_a_forwarded_host_counts_only_where_the_site_says_so(settings):
    headers = handshake("https://example.com", "backend:8000", x_forwarded_host="example.com")
    assert not accepts_origin(headers)
    settings.USE_X_FORWARDED_HOST = True
    assert accepts_origin(headers)
    assert accepts_origin(handshake("https://example.com"))
    assert not accepts_origin(handshake("https://evil.example", "evil.example", x_forwarded_host="example.com"))


@pytest.mark.parametrize(("origin", "accepted"), [("https://example.com", True), ("http://example.com", False)])
def test_over_tls_a_page_must_have_come_over_tls_too(origin, accepted):
    assert accepts_origin(handshake(origin), "wss") is accepted


@pytest.mark.parametrize(("proto", "accepted"), [("https", False), ("https, http", False), ("http", True)])
def test_a_trusted_proxy_tells_whether_the_client_came_over_tls(settings, proto, accepted):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert accepts_origin(handshake("http://example.com", x_forwarded_proto=proto)) is accepted


@pytest.mark.parametrize(
    ("page", "same"),
    [
        ("http://example.org/page", True),
        ("http://example.org:80/", True),
        ("http://example.org:8000/", False),
        ("http://evil.example/", False),
        ("https://trusted.example/", True),
        ("about:blank", False),
        ("http://[::1", False),
    ],
)
def test_whether_a_page_is_one_of_this_site(settings, page, same):
    settings.ALLOWED_HOSTS, settings.CSRF_TRUSTED_ORIGINS = ["example.org"], ["https://trusted.example"]
    assert is_of_this_site(page, "example.org") is same


# Requests


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({}, False),
        *(({"Sec-Fetch-Site": site}, False) for site in ("none", "same-origin")),
        *(({"Sec-Fetch-Site": site}, True) for site in ("cross-site", "same-site", "", "something-new", "NONE")),
        ({"Sec-Fetch-Site": "none", "Origin": "http://evil.example"}, False),
        # Browsers send no Sec-Fetch-Site to plain http.
        ({"Origin": "http://evil.example"}, True),
        ({"Origin": "null"}, True),
        ({"Origin": "http://example.com", "Referer": "http://evil.example/page"}, False),
        ({"Referer": "http://evil.example/page"}, True),
        ({"Referer": "http://example.com/page"}, False),
    ],
)
def test_which_requests_another_sites_page_makes(headers, foreign):
    assert is_from_another_site(RequestFactory(headers=headers).get("/", headers={"Host": "example.com"})) is foreign


@pytest.mark.parametrize(
    ("headers", "ahead"),
    [
        *(({"Sec-Purpose": purpose}, True) for purpose in ("prefetch", "prefetch;prerender", "Prefetch;anonymous-ip")),
        *(({name: "preview"}, True) for name in ("Purpose", "X-Purpose", "X-Moz")),
        ({"Sec-Purpose": "something-new"}, False),
        ({}, False),
    ],
)
def test_a_browser_may_ask_ahead(headers, ahead):
    assert is_prefetch(RequestFactory().get("/", headers=headers)) is ahead
