"""Events besides messages: told to this process at once, and over the layer to every other."""

from typing import Any

import pytest

from broadcast.engine.hints import publisher as hints
from broadcast.engine.hints import receiver as notices
from broadcast.engine.hints.hint import CONTROL_GROUP, channels_group, origin


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    heard: list[Any] = []
    monkeypatch.setitem(notices.handlers, "broadcast.test", heard.append)
    return heard


@pytest.fixture
def passed_on(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    passed: list[Any] = []
    monkeypatch.setattr(hints.layer_publisher, "put", lambda layer, group, event: passed.append((group, event)))
    return passed


def test_an_event_is_heard_here_and_passed_on(settings, heard, passed_on):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}
    notices.publish_control({"type": "broadcast.test", "n": 1})
    assert heard == [{"type": "broadcast.test", "n": 1}]
    assert passed_on == [("broadcast.", {"type": "broadcast.test", "n": 1, "origin": origin.tag})]


@pytest.mark.parametrize("layers", [{}, {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}])
def test_where_nobody_else_can_be_reached_nothing_is_passed_on(settings, heard, passed_on, layers):
    settings.CHANNEL_LAYERS = layers
    notices.publish_control({"type": "broadcast.test"})
    assert (len(heard), passed_on) == (1, [])


def test_an_event_of_another_process_is_heard_and_one_of_this_process_is_not_heard_twice(heard):
    notices.take({"type": "broadcast.test", "origin": "another"})
    notices.take({"type": "broadcast.test", "origin": origin.tag})
    notices.take({"type": "broadcast.test"})
    assert [event.get("origin") for event in heard] == ["another", None]


@pytest.mark.parametrize("event", [{}, {"type": "broadcast.other"}, {"type": 7}])
def test_an_event_that_nobody_registered_for_is_ignored(heard, event):
    notices.take(event)
    assert heard == []


def test_the_group_of_all_hubs_is_no_groups_own():
    assert channels_group(CONTROL_GROUP) == "broadcast."
