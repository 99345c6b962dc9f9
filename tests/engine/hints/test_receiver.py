"""Membership: one channel, in the groups that are listened to, whatever the layer does."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broadcast.engine.health import layer_failing
from broadcast.engine.hints import receiver as membership_module
from broadcast.engine.hints import receiver as notices
from broadcast.engine.hints.hint import EVENT, TRIES, Hint
from broadcast.engine.hints.hint import origin as this_process
from broadcast.engine.hints.receiver import LayerReceiver
from tests.kit.layers import Failing, Gated, HardOfHearing, Impatient, Unmade, Watched, only_in_memory, use
from tests.kit.streams import foreign_event
from tests.kit.waiting import until

pytestmark = pytest.mark.layer_contract


@pytest.fixture
def hints() -> list[Hint]:
    return []


@pytest.fixture
async def membership(hints: list[Hint], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LayerReceiver]:
    monkeypatch.setattr(membership_module, "RETRY_AFTER", 0.01)
    membership = LayerReceiver(hints.append)
    yield membership
    await membership.close()
    layer_failing._places.clear()


async def test_a_group_is_entered_and_left(membership: LayerReceiver, settings: Any) -> None:
    layer = use(settings, Watched)
    await membership.add("broadcast")
    await membership.add("staff")
    assert set(layer.groups) == {"broadcast", "broadcast.staff"}
    await membership.discard("staff")
    assert set(layer.groups) == {"broadcast"}
    await membership.close()
    assert layer.groups == {}


async def test_a_layer_that_does_not_hear_at_once_that_it_is_to_end(membership: LayerReceiver, settings: Any) -> None:
    """As that of channels_redis.core, which loses a cancellation now and then."""
    layer = use(settings, HardOfHearing)
    await membership.add("broadcast")
    await until(lambda: "receive" in layer.tries)
    async with asyncio.timeout(10):
        await membership.close()
    assert layer.cancellations > 1


@only_in_memory
async def test_all_groups_share_one_channel_and_one_task(membership: LayerReceiver, settings: Any) -> None:
    layer = use(settings, Watched)
    tasks = asyncio.all_tasks()
    for group in "abc":
        await membership.add(group)
    assert len({channel for channels in layer.groups.values() for channel in channels}) == 1
    await until(lambda: layer.channels)
    assert len(asyncio.all_tasks() - tasks) == 1
    await membership.close()
    assert asyncio.all_tasks() == tasks
    assert layer.channels == {}


async def test_events_of_other_processes_are_handed_over(
    membership: LayerReceiver, hints: list[Hint], settings: Any
) -> None:
    layer = use(settings, Watched)
    await membership.add("broadcast")
    await layer.group_send("broadcast", foreign_event(offset=1, epoch="e", head=1))
    await layer.group_send("broadcast", {"type": EVENT, "author": "Ann", "body": "typing"})
    await until(lambda: len(hints) == 2)
    assert [(hint.group, hint.head) for hint in hints] == [("broadcast", 1), ("broadcast", None)]


async def test_events_of_this_process_and_of_other_apps_are_not(
    membership: LayerReceiver, hints: list[Hint], settings: Any
) -> None:
    layer = use(settings, Watched)
    await membership.add("broadcast")
    await layer.group_send("broadcast", foreign_event(offset=1, epoch="e", head=1, origin=this_process.tag))
    await layer.group_send("broadcast", {"type": "chat.message", "text": "hi"})
    await layer.group_send("broadcast", foreign_event(offset=2, epoch="e", head=2))
    await until(lambda: hints)
    assert [hint.head for hint in hints] == [2]


UNSOUND = [
    {"type": EVENT},
    {"type": EVENT, "body": 7},
    {"type": EVENT, "body": "a\x00b"},
    {"type": EVENT, "body": "hi", "author": None},
    foreign_event(offset=1),
    foreign_event(offset=1, epoch="e", head=1, more=7),
    foreign_event(offset=1, epoch="e", head=1, more=[7]),
]


@pytest.mark.parametrize("event", UNSOUND, ids=repr)
async def test_an_event_that_is_not_sound_is_ignored(
    event: dict[str, Any],
    membership: LayerReceiver,
    hints: list[Hint],
    settings: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    layer = use(settings, Watched)
    await membership.add("broadcast")
    with caplog.at_level(logging.WARNING, "broadcast"):
        await layer.group_send("broadcast", event)
        await layer.group_send("broadcast", foreign_event(offset=2, epoch="e", head=2))
        await until(lambda: hints)
    assert [hint.head for hint in hints] == [2]
    assert "not sound" in caplog.text


async def test_a_hint_that_cannot_be_taken_does_not_end_the_receiving(settings: Any) -> None:
    layer = use(settings, Watched)
    taken: list[Hint] = []

    def take(hint: Hint) -> None:
        if hint.group != "broadcast":
            raise TypeError("unhashable type: 'list'")
        taken.append(hint)

    membership = LayerReceiver(take)
    await membership.add("broadcast")
    await layer.group_send("broadcast", {"type": EVENT, "author": "Ann", "body": "hi", "group": ["a", "list"]})
    await layer.group_send("broadcast", {"type": EVENT, "author": "Ann", "body": "hi"})
    await until(lambda: taken, 3)
    await membership.close()


# Renewing


@only_in_memory
async def test_a_layer_that_has_forgotten_is_told_again(membership: LayerReceiver, settings: Any) -> None:
    layer = use(settings, Watched)
    await membership.add("broadcast")
    await layer.flush()
    await membership.renew()
    assert set(layer.groups) == {"broadcast"}


async def test_groups_are_renewed_in_slices(
    membership: LayerReceiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership_module, "RENEWED_AT_ONCE", 2)
    layer = use(settings, Watched)
    for group in "abcde":
        await membership.add(group)
    slices = []
    for _ in range(5):
        layer.calls.clear()
        await membership.renew()
        slices.append("".join(group[-1] for _, group in layer.calls))
    assert slices == ["ab", "cd", "ea", "bc", "de"]


async def test_a_layer_that_is_away_is_noticed_though_nothing_is_to_be_said(
    membership: LayerReceiver, hints: list[Hint], settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Adding to a group again does not reach Redis with channels_redis.pubsub."""
    layer = use(settings, Failing)
    await membership.add("broadcast")
    layer.broken = {"send"}
    await membership.renew()
    assert "send failed" in caplog.text
    layer.broken = set()
    await asyncio.sleep(membership_module.RETRY_AFTER)
    await membership.renew()
    await until(lambda: not layer_failing.is_failing)
    await layer.group_send("broadcast", foreign_event(offset=1, epoch="e", head=1))
    await until(lambda: hints)
    assert [hint.head for hint in hints] == [1]


async def test_renewing_nothing_does_nothing(membership: LayerReceiver, settings: Any) -> None:
    layer = use(settings, Failing)
    await membership.renew()
    assert layer.tries == []


async def test_a_layer_that_is_swapped_is_left_and_the_new_one_entered(
    membership: LayerReceiver, hints: list[Hint], settings: Any
) -> None:
    old = use(settings, Watched)
    await membership.add("broadcast")
    await membership.add("staff")
    new = use(settings, Watched)
    assert new is not old
    await membership.renew()
    assert old.groups == {}
    assert set(new.groups) == {"broadcast", "broadcast.staff"}
    await new.group_send("broadcast.staff", foreign_event(group="staff", offset=1, epoch="e", head=1))
    await until(lambda: hints)


async def test_a_site_without_a_layer_loses_nothing_but_speed(membership: LayerReceiver, settings: Any) -> None:
    settings.CHANNEL_LAYERS = {}
    await membership.add("broadcast")
    await membership.renew()
    await membership.discard("broadcast")
    await membership.close()


async def test_a_layer_that_is_taken_away_and_comes_back(membership: LayerReceiver, settings: Any) -> None:
    old = use(settings, Watched)
    await membership.add("broadcast")
    settings.CHANNEL_LAYERS = {}
    await membership.renew()
    assert old.groups == {}
    new = use(settings, Watched)
    await membership.renew()
    assert set(new.groups) == {"broadcast"}


async def test_a_layer_that_cannot_be_made_is_a_layer_that_fails(
    membership: LayerReceiver, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{Unmade.__module__}.Unmade"}}
    await membership.add("broadcast")
    await membership.renew()
    assert caplog.text.count("up to a second later: no hosts") == 1
    layer = use(settings, Watched)
    await membership.renew()
    assert set(layer.groups) == {"broadcast"}


# A layer that fails


@pytest.mark.parametrize("way", ["new_channel", "group_add"])
async def test_a_group_that_could_not_be_entered_is_entered_later(
    way: str, membership: LayerReceiver, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    layer = use(settings, Failing)
    layer.broken = {way}
    await membership.add("broadcast")
    await membership.renew()
    assert layer.groups == {}
    assert caplog.text.count("cannot be reached") == 1
    layer.broken = set()
    await until_renewed(membership, layer, "broadcast")


async def until_renewed(membership: LayerReceiver, layer: Any, *groups: str) -> None:
    async with asyncio.timeout(5):
        while set(layer.groups) != set(groups):
            await membership.renew()
            await asyncio.sleep(0.002)


async def test_groups_that_were_never_entered_come_first(membership: LayerReceiver, settings: Any) -> None:
    layer = use(settings, Failing)
    await membership.add("a")
    layer.broken = {"group_add"}
    await membership.add("b")
    layer.broken = set()
    await until_renewed(membership, layer, "broadcast.a", "broadcast.b")
    assert layer.calls[:2] == [("add", "broadcast.a"), ("add", "broadcast.b")]


async def test_renewing_stops_at_the_first_failure(membership: LayerReceiver, settings: Any) -> None:
    layer = use(settings, Failing)
    for group in "abc":
        await membership.add(group)
    layer.tries.clear()
    layer.broken = {"group_add"}
    await membership.renew()
    assert layer.tries.count("group_add") == TRIES


async def test_leaving_a_layer_that_fails_stops_at_the_first_failure(membership: LayerReceiver, settings: Any) -> None:
    layer = use(settings, Failing)
    for group in "abc":
        await membership.add(group)
    layer.tries.clear()
    layer.broken = {"group_discard"}
    await membership.close()
    assert layer.tries.count("group_discard") == TRIES


async def test_a_layer_that_hangs_holds_up_one_join_and_not_each(
    membership: LayerReceiver, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership_module, "LAYER_TIMEOUT", 0.05)
    monkeypatch.setattr(membership_module, "RETRY_AFTER", 60.0)
    layer = use(settings, Gated)
    layer.gate.clear()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(*(membership.add(f"g{number}") for number in range(50)))
    assert loop.time() - began < 1
    layer.gate.set()
    membership._paused_until = 0.0
    await until_renewed(membership, layer, *(f"broadcast.g{number}" for number in range(50)))


async def test_a_layer_that_gives_up_when_nothing_comes_is_listened_to_again(
    membership: LayerReceiver, hints: list[Hint], settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As that of channels_redis.core, whose client times out."""
    layer = use(settings, Impatient)
    await membership.add("broadcast")
    await until(lambda: layer.patience_lost > 2)
    await layer.group_send("broadcast", foreign_event(offset=1, epoch="e", head=1))
    await until(lambda: hints)
    assert caplog.records == []


async def test_receiving_goes_on_after_a_failure(
    membership: LayerReceiver, hints: list[Hint], settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    layer = use(settings, Failing)
    layer.broken = {"receive"}
    await membership.add("broadcast")
    await until(lambda: layer.tries.count("receive") > 1)
    layer.broken = set()
    await layer.group_send("broadcast", foreign_event(offset=1, epoch="e", head=1))
    await until(lambda: hints)
    assert "receive failed" in caplog.text


async def test_it_hears_what_is_told_to_all_hubs(membership: LayerReceiver, settings: Any, monkeypatch: Any) -> None:
    heard: list[Any] = []
    monkeypatch.setitem(notices.handlers, "broadcast.test", heard.append)
    layer = use(settings, Watched)
    for _ in range(2):
        await membership.join_control()
    assert (set(layer.groups), membership.groups) == ({"broadcast."}, [])
    await layer.group_send("broadcast.", {"type": "broadcast.test"})
    await until(lambda: heard)
    assert heard[0]["type"] == "broadcast.test"
    await membership.close()
    assert layer.groups == {}


async def test_a_late_discard_does_not_undo_a_quick_return(membership: LayerReceiver, settings: Any) -> None:
    layer = use(settings, Gated)
    await membership.add("broadcast")
    layer.gate.clear()
    leaving = asyncio.ensure_future(membership.discard("broadcast"))
    await asyncio.sleep(0)
    returning = asyncio.ensure_future(membership.add("broadcast"))
    await asyncio.sleep(0)
    layer.gate.set()
    await asyncio.gather(leaving, returning)
    assert set(layer.groups) == {"broadcast"}
    assert layer.calls[-2:] == [("discard", "broadcast"), ("add", "broadcast")]


async def test_an_error_without_words_is_told_by_its_name() -> None:
    assert membership_module.describe(TimeoutError()) == "TimeoutError"
    assert membership_module.describe(ConnectionError("refused")) == "refused"


# Breaking and healing are told once


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.levelname for record in caplog.records]


@pytest.mark.parametrize("way", ["send", "group_add", "group_discard"])
async def test_a_connection_that_died_while_it_was_kept_is_no_outage(
    way: str, membership: LayerReceiver, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """When Redis was away, each connection in the pool of its client fails once, on its next use."""
    layer = use(settings, Failing)
    await membership.add("broadcast")
    layer.broken_once = [way]
    await membership.renew()
    await membership.discard("broadcast")
    assert layer.broken_once == []
    assert layer.groups == {}
    assert told(caplog) == []


async def test_a_failure_to_receive_is_tried_again_before_it_is_told(
    membership: LayerReceiver, hints: list[Hint], settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    layer = use(settings, Failing)
    layer.broken_once = ["receive"] * (TRIES - 1)
    await membership.add("broadcast")
    await layer.group_send("broadcast", foreign_event(offset=1, epoch="e", head=1))
    await until(lambda: hints)
    assert layer.broken_once == []
    assert told(caplog) == []


async def test_the_layer_is_back_when_the_hub_hears_through_it(
    membership: LayerReceiver, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """That something can be said to it is not enough."""
    layer = use(settings, Failing)
    layer.broken = {"receive"}
    await membership.add("broadcast")
    await until(lambda: layer_failing.is_failing)
    for _ in range(3):
        await membership.renew()
    assert told(caplog) == ["ERROR"]
    layer.broken = set()
    async with asyncio.timeout(10):
        while layer_failing.is_failing:  # what was sent before the last failure to receive does not count
            await membership.renew()
            await asyncio.sleep(0.01)
    assert told(caplog) == ["ERROR", "WARNING"]


async def test_what_was_sent_before_a_failure_does_not_tell_that_it_is_over(
    membership: LayerReceiver, hints: list[Hint], settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    layer = use(settings, Failing)
    layer.broken = {"receive"}
    await membership.add("broadcast")
    await membership.renew()
    layer.broken = {"group_add"}
    await membership.renew()
    await layer.group_send("broadcast", foreign_event(offset=1, epoch="e", head=1))
    await until(lambda: hints)
    assert told(caplog) == ["ERROR"]


async def test_a_channel_that_is_full_is_no_outage(
    membership: LayerReceiver, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    layer = use(settings, Failing)
    await membership.add("broadcast")
    layer.is_full = True
    await membership.renew()
    assert "send" in layer.tries
    assert told(caplog) == []
