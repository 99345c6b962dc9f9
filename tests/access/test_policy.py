"""Who may do what, and from which pages."""

from dataclasses import dataclass

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError

from broadcast.access import policy
from broadcast.access.policy import ACTIONS, accepts_origin, allows, is_same_origin, is_word, needs_database, refusal
from broadcast.groups import is_group_name, is_group_pattern, retention, rule_for


@dataclass
class Account:
    """A user as the policy sees one: no database behind it."""

    pk: object = 7
    is_active: bool = True
    is_staff: bool = False
    permissions: tuple[str, ...] = ()
    is_authenticated: bool = True

    def has_perm(self, permission: str) -> bool:
        return permission in self.permissions


GUESTS = [None, AnonymousUser()]
MEMBER = Account()
STAFF = Account(is_staff=True)
EDITOR = Account(permissions=("news.add_story",))
INACTIVE = Account(is_active=False, is_staff=True, permissions=("news.add_story",))
EVERYBODY = [*GUESTS, MEMBER, STAFF, EDITOR, INACTIVE]


@pytest.fixture
def rules(settings):
    """Sets the ``GROUPS`` table: ``rules(name={...})`` or ``rules({...})``."""

    def write(table=None, **names):
        settings.BROADCAST = {"GROUPS": {**(table or {}), **names}}

    return write


# Names


@pytest.mark.parametrize("name", ["a", "broadcast", "user.7", "A_b-c.9", "x" * 80])
def test_group_names(name):
    assert is_group_name(name)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a*", "é", "a\n", "x" * 81, None, 5, b"a"])
def test_what_is_no_group_name(name):
    assert not is_group_name(name)


@pytest.mark.parametrize("name", ["*", "user.*", "x" * 80 + "*"])
def test_patterns(name):
    assert is_group_pattern(name)


@pytest.mark.parametrize("name", ["user", "us*er", "**", "a b*", "", None, "user.?", "x" * 81 + "*"])
def test_what_is_no_pattern(name):
    assert not is_group_pattern(name)


@pytest.mark.parametrize("who", ["anyone", "authenticated", "staff", "nobody", "self", "perm:news.add_story"])
def test_words(who):
    assert is_word(who)


@pytest.mark.parametrize("who", ["", "everyone", "perm:", "perm:add_story", "perm:news.", "perm:a.b c", None, True])
def test_what_is_no_word(who):
    assert not is_word(who)


# Which rule holds


def test_a_name_comes_before_any_pattern(rules):
    rules({"*": {}, "user.*": {}, "user.7": {"publish": "staff"}})
    assert rule_for("user.7") == ("user.7", {"publish": "staff"})


@pytest.mark.parametrize("order", [["*", "user.*", "user.admin.*"], ["user.admin.*", "user.*", "*"]])
def test_a_longer_pattern_comes_before_a_shorter_one(rules, order):
    rules({pattern: {} for pattern in order})
    assert rule_for("user.admin.1") == ("user.admin.*", {})
    assert rule_for("user.1") == ("user.*", {})
    assert rule_for("news") == ("*", {})


def test_what_no_rule_names_has_none(rules):
    rules({"user.*": {}, "news": {}})
    assert rule_for("newsroom") is None
    assert rule_for("use") is None
    assert rule_for("my.user.1") is None


def test_only_a_star_at_the_end_makes_a_pattern(rules):
    rules({"us*r": {}, "room.[ab]": {}, "hall.?": {}})
    assert rule_for("user") is None
    assert rule_for("room.a") is None
    assert rule_for("hall.1") is None


# Who


@pytest.mark.parametrize(
    ("who", "allowed"),
    [
        ("anyone", EVERYBODY),
        ("authenticated", [MEMBER, STAFF, EDITOR]),
        ("staff", [STAFF]),
        ("nobody", []),
        ("self", []),
        ("perm:news.add_story", [EDITOR]),
        ("everyone", []),
        (None, []),
        (True, []),
    ],
)
@pytest.mark.parametrize("action", ACTIONS)
def test_a_word_allows_whom_it_names(rules, action, who, allowed):
    rules(news={action: who})
    assert [user for user in EVERYBODY if allows(user, action, "news")] == allowed


@pytest.mark.parametrize("user", EVERYBODY)
@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_not_named_is_denied(rules, user, action):
    rules(news={})
    assert not allows(user, action, "news")
    assert not allows(user, action, "other")


@pytest.mark.parametrize("action", ["subscribe", "publish"])
def test_self_is_whose_primary_key_the_star_stands_for(rules, action):
    rules({"user.*": {action: "self"}})
    assert allows(Account(pk=7), action, "user.7")
    assert allows(Account(pk="6f1c-a"), action, "user.6f1c-a")
    assert not allows(Account(pk=7), action, "user.70")
    assert not allows(Account(pk=7), action, "user.")
    assert not allows(Account(pk=7), action, "user.x.7")
    assert not allows(Account(pk=7, is_active=False), action, "user.7")
    assert not allows(AnonymousUser(), action, "user.None")


def test_nobody_announces_as_self(rules):
    rules({"user.*": {"announce": "self"}})
    assert not allows(Account(pk=7), "announce", "user.7")


def test_self_needs_a_pattern(rules):
    rules({"user.7": {"subscribe": "self"}})
    assert not allows(Account(pk=7), "subscribe", "user.7")


@pytest.mark.parametrize("table", [{}, {"news": {}}, {"*": {"subscribe": "anyone", "publish": "anyone"}}])
def test_users_and_staff_have_their_groups_in_every_site(rules, table):
    rules(table)
    assert allows(MEMBER, "subscribe", "user.7")
    assert not allows(MEMBER, "publish", "user.7")
    assert [user for user in EVERYBODY if allows(user, "subscribe", "user.8")] == []
    for action in ("subscribe", "publish"):
        assert [user for user in EVERYBODY if allows(user, action, "staff")] == [STAFF]


def test_a_site_may_have_other_rules_for_them(rules):
    rules({"user.*": {"publish": "self"}, "staff": {}})
    assert not allows(MEMBER, "subscribe", "user.7")
    assert allows(MEMBER, "publish", "user.7")
    assert not allows(STAFF, "subscribe", "staff")


# The site's own policy


@pytest.fixture
def site_policy(settings, monkeypatch):
    """Sets the ``POLICY`` of a site where anyone may write to "open"."""
    monkeypatch.setattr(policy, "causes", set())

    def write(function):
        settings.BROADCAST = {"POLICY": function, "GROUPS": {"open": {"publish": "anyone"}}}

    return write


def test_a_policy_comes_before_the_table_and_none_leaves_it_to_that(site_policy):
    said = {"ticket.1": True, "open": False}
    site_policy(lambda user, action, group: said.get(group))
    assert allows(None, "subscribe", "ticket.1")
    assert not allows(MEMBER, "publish", "open")
    said.clear()
    assert allows(None, "publish", "open")
    assert not allows(None, "subscribe", "ticket.1")
    assert needs_database("publish", "open")


@pytest.mark.parametrize("user", EVERYBODY)
def test_a_policy_is_told_of_guests_as_none(site_policy, user):
    asked = []
    site_policy(lambda *args: asked.append(args))
    allows(user, "publish", "open")
    assert asked == [(user if user in (MEMBER, STAFF, EDITOR) else None, "publish", "open")]


def may_only_staff(user, action, group):
    return user is not None and user.is_staff


def test_a_policy_may_be_named(site_policy):
    site_policy("tests.test_policy.may_only_staff")
    assert [user for user in EVERYBODY if allows(user, "announce", "anything")] == [STAFF]


def test_a_policy_that_fails_denies_and_says_so_once_per_cause(site_policy, caplog):
    site_policy(lambda user, action, group: 1 // (group == "ticket.2"))
    for _ in range(3):
        assert not allows(STAFF, "publish", "open")
    assert not allows(STAFF, "publish", "ticket.2")
    assert not allows(STAFF, "publish", "ticket.2")
    zero, wrong_type = caplog.records
    assert "integer division" in zero.getMessage()
    assert zero.exc_info
    assert "it returned int" in wrong_type.getMessage()


def test_a_policy_that_cannot_be_imported_denies(site_policy, caplog):
    site_policy("nowhere.may")
    assert not allows(STAFF, "publish", "open")
    assert "No module named 'nowhere'" in caplog.text


def test_a_database_that_is_away_is_no_verdict(site_policy):
    def away(user, action, group):
        raise OperationalError("away")

    site_policy(away)
    with pytest.raises(OperationalError):
        allows(MEMBER, "publish", "open")


def test_a_refusal_names_the_policy_where_there_is_one(site_policy):
    site_policy(may_only_staff)
    assert refusal("publish", "open") == (
        "You may not write to 'open': neither BROADCAST[\"POLICY\"] nor, where that leaves it open, "
        'BROADCAST["GROUPS"] allows it.'
    )


def test_the_defaults_are_safe(settings):
    settings.BROADCAST = {}
    announcer = Account(permissions=("broadcast.add_message",))
    assert allows(None, "subscribe", "broadcast")
    assert not allows(None, "publish", "broadcast")
    assert allows(MEMBER, "publish", "broadcast")
    assert not allows(STAFF, "announce", "broadcast")
    assert allows(announcer, "announce", "broadcast")
    assert not allows(announcer, "subscribe", "other")


def test_only_permissions_may_need_the_database(rules):
    rules(news={"subscribe": "anyone", "publish": "perm:news.add_story"})
    assert needs_database("publish", "news")
    assert not needs_database("subscribe", "news")
    assert not needs_database("announce", "news")
    assert not needs_database("publish", "other")


# What the refused are told


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        (
            "subscribe",
            'You may not receive messages of \'news\': BROADCAST["GROUPS"]["news"]["subscribe"] is "nobody".',
        ),
        ("publish", 'You may not write to \'news\': BROADCAST["GROUPS"]["news"]["publish"] is "staff".'),
        ("announce", 'You may not announce to \'news\': BROADCAST["GROUPS"]["news"]["announce"] is "perm:news.shout".'),
    ],
)
def test_a_refusal_names_the_setting(rules, action, sentence):
    rules(news={"publish": "staff", "announce": "perm:news.shout"})
    assert refusal(action, "news") == sentence


def test_a_refusal_names_the_pattern(rules):
    rules({"user.*": {"publish": "self"}})
    assert refusal("publish", "user.9") == (
        'You may not write to \'user.9\': BROADCAST["GROUPS"]["user.*"]["publish"] is "self".'
    )


def test_a_refusal_says_when_there_is_no_such_group(rules):
    rules(news={})
    assert refusal("subscribe", "nwes") == (
        "There is no group 'nwes' here. A site names its groups in BROADCAST[\"GROUPS\"]; 'nwes' is not among them."
    )


# How long


def test_a_rule_says_how_much_is_kept(rules):
    rules({"news": {"keep_messages": 5, "keep_seconds": 60}, "room.*": {"keep_messages": None}})
    assert retention("news") == (5, 60)
    assert retention("room.1") == (None, 30 * 24 * 3600)


def test_what_no_rule_says_the_settings_say(settings):
    settings.BROADCAST = {"KEEP_MESSAGES": 7, "KEEP_SECONDS": None}
    assert retention("broadcast") == (7, None)
    assert retention("other") == (7, None)


# From which pages


def handshake(origin: str | None, host: str | None = "example.com", **more: str) -> dict[bytes, bytes]:
    headers = {"origin": origin, "host": host} | {name.replace("_", "-"): value for name, value in more.items()}
    return {name.encode(): value.encode("latin-1") for name, value in headers.items() if value is not None}


@pytest.fixture(autouse=True)
def hosts(settings):
    settings.ALLOWED_HOSTS = ["example.com", "[2001:db8::1]"]
    settings.CSRF_TRUSTED_ORIGINS = []
    settings.USE_X_FORWARDED_HOST = False
    return settings


@pytest.mark.parametrize("host", ["example.com", "evil.example", None])
def test_a_program_sends_no_origin(host):
    assert accepts_origin(handshake(None, host))


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


@pytest.mark.parametrize(
    "origin",
    [
        "http://example.com:8000",
        "https://example.com:80",
        "http://example.com:443",
        "http://evil.example",
        "http://sub.example.com",
        "http://example.com.evil.example",
        "http://evilexample.com",
        "null",
        "",
        "example.com",
        "//example.com",
        "http:",
        "http://",
        "ftp://example.com",
        "file://",
        "chrome-extension://example.com",
        "http://[::1",
        "http://[::1]evil",
        "http://example.com:port",
        "http://user@example.com",
        "http://exa mple.com",
        "\xff\xfe",
    ],
)
def test_any_other_page_is_refused(origin):
    assert not accepts_origin(handshake(origin))


def test_the_host_is_one_of_the_site():
    assert not accepts_origin(handshake("http://rebound.example", "rebound.example"))


@pytest.mark.parametrize("host", ["", None])
def test_without_a_host_the_origin_is_to_be_one_of_the_site(host):
    assert accepts_origin(handshake("http://example.com:8000", host))
    assert not accepts_origin(handshake("http://evil.example", host))
    assert not accepts_origin(handshake("http://", host))


@pytest.mark.parametrize("host", ["exa mple.com", "[::1", "example.com:port"])
def test_a_garbled_host_is_refused(host):
    assert not accepts_origin(handshake("http://example.com", host))


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "demo.localhost:8000"])
def test_without_allowed_hosts_the_site_is_this_machine(settings, debug, host):
    settings.DEBUG = debug
    settings.ALLOWED_HOSTS = []
    assert accepts_origin(handshake(f"http://{host}", host))
    assert not accepts_origin(handshake("http://example.com"))


def test_any_host_may_be_allowed_but_not_any_page(settings):
    settings.ALLOWED_HOSTS = ["*"]
    assert accepts_origin(handshake("http://anything.example", "anything.example"))
    assert not accepts_origin(handshake("http://evil.example", "anything.example"))
    assert not accepts_origin(handshake("http://no host", "no host"))


def test_subdomains_may_be_allowed_but_each_only_to_itself(settings):
    settings.ALLOWED_HOSTS = [".example.com"]
    assert accepts_origin(handshake("https://a.example.com", "a.example.com"))
    assert accepts_origin(handshake("https://example.com", "example.com"))
    assert not accepts_origin(handshake("https://a.example.com", "b.example.com"))
    assert not accepts_origin(handshake("https://evilexample.com", "evilexample.com"))


def test_a_trusted_origin_is_accepted(settings):
    settings.CSRF_TRUSTED_ORIGINS = ["HTTPS://Front.example", "https://dev.example:8443"]
    assert accepts_origin(handshake("https://front.example"))
    assert accepts_origin(handshake("https://FRONT.Example"))
    assert accepts_origin(handshake("https://dev.example:8443"))
    assert not accepts_origin(handshake("http://front.example"))
    assert not accepts_origin(handshake("https://front.example:8443"))
    assert not accepts_origin(handshake("https://dev.example"))
    assert not accepts_origin(handshake("https://a.front.example"))
    assert not accepts_origin(handshake("null"))


def test_a_trusted_wildcard_accepts_the_domain_and_its_subdomains(settings):
    settings.CSRF_TRUSTED_ORIGINS = ["https://*.front.example"]
    assert accepts_origin(handshake("https://a.front.example"))
    assert accepts_origin(handshake("https://a.b.front.example"))
    assert accepts_origin(handshake("https://front.example"))
    assert not accepts_origin(handshake("http://a.front.example"))
    assert not accepts_origin(handshake("https://evilfront.example"))
    assert not accepts_origin(handshake("https://evil.example/.front.example"))


def test_a_trusted_origin_may_belong_to_an_app(settings):
    settings.CSRF_TRUSTED_ORIGINS = ["capacitor://localhost"]
    assert accepts_origin(handshake("capacitor://localhost"))
    assert not accepts_origin(handshake("capacitor://elsewhere"))


def test_a_forwarded_host_counts_only_where_the_site_says_so(settings):
    headers = handshake("https://example.com", "backend:8000", x_forwarded_host="example.com")
    assert not accepts_origin(headers)
    settings.USE_X_FORWARDED_HOST = True
    assert accepts_origin(headers)
    assert accepts_origin(handshake("https://example.com"))
    assert not accepts_origin(handshake("https://evil.example", "evil.example", x_forwarded_host="example.com"))


class TestOriginOverTls:
    @pytest.fixture(autouse=True)
    def hosts(self, settings):
        settings.ALLOWED_HOSTS = ["example.org"]

    @pytest.mark.parametrize(("origin", "accepted"), [(b"https://example.org", True), (b"http://example.org", False)])
    def test_a_page_must_have_come_over_tls_too(self, origin, accepted):
        assert accepts_origin({b"origin": origin, b"host": b"example.org"}, "wss") is accepted

    @pytest.mark.parametrize(("proto", "accepted"), [(b"https", False), (b"https, http", False), (b"http", True)])
    def test_a_trusted_proxy_tells_how_the_client_came(self, settings, proto, accepted):
        settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
        headers = {b"origin": b"http://example.org", b"host": b"example.org", b"x-forwarded-proto": proto}
        assert accepts_origin(headers) is accepted


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
    settings.CSRF_TRUSTED_ORIGINS = ["https://trusted.example"]
    assert is_same_origin(page, "example.org") is same
