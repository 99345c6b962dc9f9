"""The app's settings: one dict, ``BROADCAST``, read when used, so that ``override_settings`` just works."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, overload

from django.conf import settings as django_settings

T = TypeVar("T")

Rules = Mapping[str, Mapping[str, Any]]

DEFAULT_GROUPS: Rules = {
    "broadcast": {
        "subscribe": "anyone",
        "publish": "authenticated",
        "announce": "perm:broadcast.add_message",
    },
}


BUILT_IN_GROUPS: Rules = {
    "user.*": {"subscribe": "self"},
    "staff": {"subscribe": "staff", "publish": "staff"},
}
"""Rules of every site that does not write its own for these: so that ``send(…, to=user)`` works anywhere."""

Policy = Callable[[Any, str, str], bool | None]
Author = Callable[[Any], str]


def user_settings() -> Mapping[str, Any]:
    """The site's own ``BROADCAST``; empty when there is none, or when it is no dict."""
    written = getattr(django_settings, "BROADCAST", None)
    return written if isinstance(written, Mapping) else {}


class Setting(Generic[T]):
    """One key of ``BROADCAST``: its default, and what a value must be."""

    def __init__(self, default: T, expected: str, accepts: Callable[[Any], bool]) -> None:
        self.default = default
        self.expected = expected
        self.accepts = accepts

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Setting[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Setting[T] | T:
        if instance is None:
            return self
        return self.read()

    def read(self) -> T:
        """The value as it is written, or the default."""
        value: T = user_settings().get(self.name, self.default)
        return value


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_positive(value: Any) -> bool:
    return is_number(value) and 0 < value < float("inf")


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def is_count_or_zero(value: Any) -> bool:
    return is_count(value) or (value == 0 and is_number(value))


def is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def is_count_or_none(value: Any) -> bool:
    return value is None or is_count(value)


def is_positive_or_none(value: Any) -> bool:
    return value is None or is_positive(value)


def is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def is_path(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("/")


def is_function_or_none(value: Any) -> bool:
    return value is None or is_text(value) or callable(value)


class Settings:
    """Every setting of the app, with its default. Durations are in seconds."""

    GROUPS = Setting[Rules](
        DEFAULT_GROUPS,
        "a dict of group names or patterns to rules",
        lambda value: isinstance(value, Mapping),
    )
    POLICY = Setting[Policy | str | None](None, "a function, or the dotted path to one", is_function_or_none)
    AUTHOR = Setting[Author | str | None](None, "a function, or the dotted path to one", is_function_or_none)
    MAX_BODY = Setting[int](4000, "a positive whole number of characters", is_count)
    MAX_DATA = Setting[int](16384, "a positive whole number of bytes", is_count)
    LIMITS = Setting[Mapping[str, Any]]({}, "a dict of limits", lambda value: isinstance(value, Mapping))
    MESSAGE_RATE = Setting[float](20, "a positive number of messages a second", is_positive)
    MESSAGE_BURST = Setting[int](60, "a positive whole number of messages", is_count)
    MAX_GROUPS = Setting[int](50, "a positive whole number of groups", is_count)
    KEEP_MESSAGES = Setting[int | None](
        10_000, "a positive whole number of messages, or None for no limit", is_count_or_none
    )
    KEEP_SECONDS = Setting[float | None](
        30 * 24 * 3600, "a positive number of seconds, or None for no limit", is_positive_or_none
    )
    POLL_INTERVAL = Setting[float](1.0, "a positive number of seconds", is_positive)
    PING_INTERVAL = Setting[float](25.0, "a positive number of seconds", is_positive)
    PAGE_MESSAGES = Setting[int](50, "a positive whole number of messages", is_count)
    SIGNED_NAME_AGE = Setting[float](24 * 3600, "a positive number of seconds", is_positive)
    SOCKET_PATH = Setting[str]("/ws", "a path that starts with /", is_path)
    DIRECT_WRITES = Setting[bool](True, "True or False", lambda value: isinstance(value, bool))
    STALLED_TIMEOUT = Setting[float](60.0, "a positive number of seconds", is_positive)
    DRAIN_TIMEOUT = Setting[float](10.0, "a positive number of seconds", is_positive)
    CHANNEL_LAYER = Setting[str]("default", "the alias of a channel layer", is_text)
    HINTS_WITHOUT_LAYER = Setting[bool](True, "True or False", lambda value: isinstance(value, bool))


conf = Settings()


class Limit(Setting[T]):
    """One key of ``LIMITS``; where it is left out, what ``BROADCAST`` itself has under its name holds.

    For a value that will not do, of which the checks tell, the default holds: no visitor pays for it.
    """

    def read(self) -> T:
        settings = user_settings()
        written = settings.get("LIMITS")
        value: T = settings.get(self.name, self.default)
        if isinstance(written, Mapping):
            value = written.get(self.name, value)
        return value if self.accepts(value) else self.default


class Limits:
    """What visitors may do at most. The site's own code, the admin and the command are never limited."""

    MESSAGE_RATE = Limit[float](20, "a positive number of messages a second", is_positive)
    MESSAGE_BURST = Limit[int](60, "a positive whole number of messages", is_count)
    ANNOUNCEMENTS_PER_MINUTE = Limit[float](60, "a positive number of announcements", is_positive)
    CONNECTIONS_PER_USER = Limit[int](100, "a positive whole number of connections", is_count)
    CONNECTIONS_PER_ADDRESS = Limit[int](1000, "a positive whole number of connections", is_count)
    SUBSCRIBE_RATE = Limit[float](5, "a positive number of groups a second", is_positive)
    SUBSCRIBE_BURST = Limit[int](100, "a positive whole number of groups", is_count)
    PROXIES = Limit[int](0, "a whole number of proxies, 0 for none", is_count_or_zero)
    REDIS_URL = Limit[str | None](None, "the URL of a Redis, empty for none, or None", is_text_or_none)


limits = Limits()


def known_settings(of: type = Settings) -> dict[str, Setting[Any]]:
    """Each setting by its name, in the order in which they are declared; or each limit, of ``Limits``."""
    return {name: value for name, value in vars(of).items() if isinstance(value, Setting)}
