"""Counts that the processes of a site keep together in Redis, so that a limit holds for all of them."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from math import ceil
from typing import Any

from django.conf import settings
from django.utils.crypto import salted_hmac

from ..conf import conf, limits
from .log_lines import say
from .system import System

FLUSH_SECONDS = 0.1  # between two looks at Redis
PAUSE_AFTER_FAILURE = 5.0  # seconds
IDLE_SECONDS = 30.0  # without anything to count, after which the thread ends
TIMEOUT = 1.0  # seconds, of Redis
BURSTS = 10  # a window is as long as it takes to earn so many
MAX_WINDOW = 600  # seconds

Key = tuple[str, str]
"""What is limited, and of whom."""
Granted = tuple[Key, float, int]


class SharedCounts:
    """What this process has granted, added up with what the others have, by a thread of its own.

    Nobody waits for it. A limit is known to be used up ``FLUSH_SECONDS`` later, so that each process may grant one
    burst before. While Redis is away each process limits by itself.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._lock = threading.Lock()
        self._granted: Counter[Granted] = Counter()
        self._used_up: dict[Key, float] = {}  # until when, by the clock of this process
        self._is_running = False
        self._failed = ""

    def wait(self, key: Key) -> float:
        """The seconds for which nothing is granted, because all processes together have granted enough."""
        until = self._used_up.get(key)
        return 0.0 if until is None else max(0.0, until - self._system.monotonic())

    def add(self, key: Key, per_second: float, burst: int) -> None:
        """Counts one that was granted; does nothing where there is no Redis."""
        if not is_shared():
            return
        with self._lock:
            self._granted[key, per_second, burst] += 1
            if self._is_running:
                return
            self._is_running = True
        try:
            self._system.start_thread(self._work, "broadcast-limits", True)
        except RuntimeError:  # no thread can be had now; the next one tries again
            with self._lock:
                self._is_running = False
                self._granted.clear()

    def _work(self) -> None:
        counter: RedisCounter | None = None
        idle = 0.0
        while self._goes_on(idle):
            self._system.sleep(FLUSH_SECONDS)
            with self._lock:
                granted, self._granted = self._granted, Counter()
            idle = 0.0 if granted else idle + FLUSH_SECONDS
            try:
                if granted:
                    counter = counter_of_the_site(counter)
                    self._report(granted, counter)
                    self._failed = ""
            except Exception as error:  # of the library, or of the settings it was given
                self._fail(type(error).__name__)  # what it says may have the address, and a password in it
                self._system.sleep(PAUSE_AFTER_FAILURE)

    def _goes_on(self, idle: float) -> bool:
        with self._lock:
            self._is_running = bool(self._granted) or idle < IDLE_SECONDS
            return self._is_running

    def _report(self, granted: Mapping[Granted, int], counter: RedisCounter) -> None:
        now = self._system.monotonic()
        self._used_up = {key: until for key, until in self._used_up.items() if until > now}
        for (key, per_second, burst), count in granted.items():
            if until := counter.add(key, per_second, burst, count):
                seconds = until - self._system.now().timestamp()
                self._used_up[key] = self._system.monotonic() + min(max(FLUSH_SECONDS, seconds), MAX_WINDOW)

    def _fail(self, said: str) -> None:
        if said != self._failed:
            self._failed = said
            say(logging.WARNING, "Limits hold for each process by itself, for Redis cannot count them: %s", said)


class RedisCounter:
    """The counts of one Redis."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        from limits.storage import storage_from_string  # not installed everywhere
        from limits.strategies import FixedWindowRateLimiter

        self.address = url, options
        patience = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
        storage = storage_from_string(url, **{**patience, **options})
        self._limiter = FixedWindowRateLimiter(storage)

    def add(self, key: Key, per_second: float, burst: int, count: int) -> float:
        """Adds to what was granted in the window; returns when the next one begins if that is too much, else 0.0.

        A window allows what one process alone may grant in it, and so never holds up what comes by one process.
        """
        from limits import RateLimitItemPerSecond

        window = min(max(1, ceil(BURSTS * burst / per_second)), MAX_WINDOW)
        item = RateLimitItemPerSecond(ceil(burst + per_second * window), window, namespace="broadcast")
        name = salted_hmac("broadcast.limits", "\n".join(key), algorithm="sha256").hexdigest()[:32]
        if self._limiter.hit(item, name, cost=count):
            return 0.0
        return self._limiter.get_window_stats(item, name).reset_time


def counter_of_the_site(known: RedisCounter | None) -> RedisCounter:
    """The counter of the site's Redis; the one that is known already, while the settings name the same."""
    address = redis_of_the_site()
    if known is not None and known.address == address:
        return known
    if address is None:
        raise LookupError("there is none any more")
    return RedisCounter(*address)


def is_shared() -> bool:
    """True if the settings name a Redis, rightly or wrongly."""
    if limits.REDIS_URL is not None:
        return bool(limits.REDIS_URL)
    return str(channel_layer().get("BACKEND", "")).startswith("channels_redis.")


def channel_layer() -> Mapping[str, Any]:
    layers: Mapping[str, Mapping[str, Any]] = getattr(settings, "CHANNEL_LAYERS", None) or {}
    return layers.get(conf.CHANNEL_LAYER) or {}


def redis_of_the_site() -> tuple[str, Mapping[str, Any]] | None:
    """The address of the Redis that counts, and options for it: the settings' own one, or that of the channel layer."""
    if not is_shared():
        return None
    if limits.REDIS_URL:
        return limits.REDIS_URL, {}
    hosts = (channel_layer().get("CONFIG") or {}).get("hosts") or [("localhost", 6379)]
    return redis_address(hosts if isinstance(hosts, str) else hosts[0])


def redis_address(host: Any) -> tuple[str, Mapping[str, Any]]:
    """An entry of ``hosts``, as channels_redis takes it, for the library that counts."""
    if isinstance(host, str):
        return "redis+" * host.startswith("unix://") + host, {}
    if not isinstance(host, Mapping):
        name, port = host
        return f"redis://{name}:{port}", {}
    options = dict(host)
    if "sentinels" in options:
        places = ",".join(f"{name}:{port}" for name, port in options.pop("sentinels"))
        return f"redis+sentinel://{places}/{options.pop('master_name')}", options
    if "address" in options:
        url, _ = redis_address(options.pop("address"))
        return url, options
    if "path" in options:
        return f"redis+unix://{options.pop('path')}", options
    scheme = "rediss" if options.pop("ssl", False) else "redis"
    return f"{scheme}://{options.pop('host', 'localhost')}:{options.pop('port', 6379)}", options
