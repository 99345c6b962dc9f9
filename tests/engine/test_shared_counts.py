"""Limits that processes keep together, on a real Redis."""

import logging
from typing import Any

import pytest

from broadcast.engine.limits import Rate, RateLimits
from broadcast.engine.shared_counts import redis_of_the_site
from broadcast.engine.system import System
from tests.kit.waiting import until

SOME = Rate(per_second=2.0, burst=2)  # a window of ten seconds grants 22
RPUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"


def layer(*hosts: Any, backend: str = RPUBSUB) -> dict[str, Any]:
    return {"default": {"BACKEND": backend, "CONFIG": {"hosts": list(hosts)}}}


def of_two_processes() -> tuple[RateLimits, RateLimits]:
    """The limits of two processes whose clocks make a token every look."""
    ticks = iter(range(10**9))
    system = System(monotonic=lambda: float(next(ticks)))
    return RateLimits(system), RateLimits(System())


async def test_what_one_process_grants_the_other_does_not_grant_again(settings, redis_server) -> None:
    settings.BROADCAST = {"LIMITS": {"REDIS_URL": redis_server.url}}
    busy, other = of_two_processes()
    while not busy.take("message", "ann", SOME):
        pass  # its clock runs, so that only what Redis counts can stop it
    assert other.take("message", "bob", SOME) == 0.0
    await until(lambda: other.take("message", "ann", SOME) > 5.0)  # what its own bucket asks for is half a second
    assert other.take("message", "bob", SOME) == 0.0


async def test_without_redis_each_counts_by_itself_and_the_log_says_so(settings, caplog) -> None:
    settings.BROADCAST = {"LIMITS": {"REDIS_URL": "redis://127.0.0.1:1/0"}}
    alone = RateLimits(System())
    with caplog.at_level(logging.WARNING, "broadcast"):
        assert [alone.take("message", "ann", SOME) > 0 for _ in range(3)] == [False, False, True]
        await until(lambda: "Limits hold for each process by itself" in caplog.text)


@pytest.mark.parametrize(
    ("layers", "limits", "address"),
    [
        ({}, {}, None),
        (layer("redis://h:1/2", backend="channels.layers.InMemoryChannelLayer"), {}, None),
        (layer("redis://h:1/2"), {"REDIS_URL": ""}, None),
        (layer("redis://h:1/2"), {"REDIS_URL": "redis://own"}, ("redis://own", {})),
        (layer("redis://h:1/2", "redis://another"), {}, ("redis://h:1/2", {})),
        (layer(("h", 1)), {}, ("redis://h:1", {})),
        (layer({"address": "rediss://h:1", "ssl_cert_reqs": None}), {}, ("rediss://h:1", {"ssl_cert_reqs": None})),
        (layer({"host": "h", "password": "p"}), {}, ("redis://h:6379", {"password": "p"})),
        (layer({"host": "h", "port": 1, "ssl": True}), {}, ("rediss://h:1", {})),
        (
            layer({"sentinels": [("a", 1), ("b", 2)], "master_name": "m", "db": 3}),
            {},
            ("redis+sentinel://a:1,b:2/m", {"db": 3}),
        ),
        ({"default": {"BACKEND": RPUBSUB}}, {}, ("redis://localhost:6379", {})),
    ],
)
def test_the_redis_is_that_of_the_channel_layer_or_the_settings_own(settings, layers, limits, address) -> None:
    settings.CHANNEL_LAYERS, settings.BROADCAST = layers, {"LIMITS": limits}
    assert redis_of_the_site() == address
