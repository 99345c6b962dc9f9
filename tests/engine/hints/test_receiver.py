"""The receiver: one channel, in the groups that are listened to, whatever the layer does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import AsyncMock

import pytest

from broadcast.engine.hints import receiver as module
from broadcast.engine.hints.hint import EVENT, SITE_MARK, Hint
from broadcast.engine.hints.layer import TRIES
from broadcast.engine.hints.receiver import LayerReceiver
from broadcast.engine.process import this_process
from tests.kit.layers import Failing, Gated, HardOfHearing, Impatient, Unmade, Watched, only_in_memory, use
from tests.kit.log import levels
from tests.kit.streams import foreign_event
from tests.kit.waiting import until

pytestmark = pytest.mark.layer_contract

LOGGED = foreign_event(offset=1, epoch="e", head=1)


class Ear:
    """What a node hears from its receiver."""

    def __init__(self) -> None:
        self.hints: list[Hint] = []
        self.controls: list[Any] = []

    def on_hint(self, hint: Hint) -> None:
        if hint.group == "cursed":
            raise TypeError("nobody knows why")
        self.hints.append(hint)

    @property
    def heads(self) -> list[int | None]:
        return [hint.head for hint in self.hints]


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
async def receiver(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LayerReceiver]:
    monkeypatch.setattr(module, "RETRY_AFTER", 0.01)
    receiver = LayerReceiver(this_process, ear.on_hint, ear.controls.append)
    yield receiver
    await receiver.close()


async def renewing(receiver: LayerReceiver, until: Callable[[], bool]) -> None:
    """Renews again and again, as polls do, until a condition is true."""
    async with asyncio.timeout(10):
        while not until():
            await receiver.renew()
            await asyncio.sleep(0)


@only_in_memory
async def test_all_groups_share_one_channel_and_one_task_until_the_last_is_left(receiver, settings):
    layer = use(settings, Watched)
    tasks = asyncio.all_tasks()
    for _ in range(2):  # whoever has left may come again
        for group in ("broadcast", "staff"):
            await receiver.add(group)
        assert set(layer.groups) == {"broadcast", "broadcast.staff"}
        assert len({channel for channels in layer.groups.values() for channel in channels}) == 1
        await until(lambda: layer.channels)
        assert len(asyncio.all_tasks() - tasks) == 1
        assert this_process.own_channels == set(layer.channels)
        await receiver.discard("staff")
        assert set(layer.groups) == {"broadcast"}
        await receiver.discard("broadcast")
        assert (layer.groups, layer.channels, this_process.own_channels) == ({}, {}, set())
        assert asyncio.all_tasks() == tasks


async def test_a_layer_is_left_though_it_does_not_hear_at_once_that_it_is_to_end(receiver, settings):
    """As that of channels_redis.core, which loses a cancellation now and then."""
    layer = use(settings, HardOfHearing)
    await receiver.add("broadcast")
    await until(lambda: "receive" in layer.tries)
    async with asyncio.timeout(10):
        await receiver.close()
    assert layer.cancellations > 1
    assert layer.groups == {}


async def test_a_late_discard_does_not_undo_a_quick_return(receiver, settings):
    layer = use(settings, Gated)
    await receiver.add("broadcast")
    await receiver.add("staff")
    layer.gate.clear()
    leaving = asyncio.ensure_future(receiver.discard("broadcast"))
    await asyncio.sleep(0)
    returning = asyncio.ensure_future(receiver.add("broadcast"))
    await asyncio.sleep(0)
    layer.gate.set()
    await asyncio.gather(leaving, returning)
    assert set(layer.groups) == {"broadcast", "broadcast.staff"}
    assert layer.calls[-2:] == [("discard", "broadcast"), ("add", "broadcast")]


async def test_hints_of_other_processes_and_of_the_site_are_handed_over_and_no_others(receiver, ear, settings):
    layer = use(settings, Watched)
    await receiver.add("broadcast")
    for event in (
        LOGGED,
        {**LOGGED, "origin": this_process.origin},
        {"type": "chat.message", "text": "hi"},
        {"type": EVENT, "author": "Ann", "body": "typing"},
    ):
        await layer.group_send("broadcast", event)
    await until(lambda: ear.heads == [1, None])


async def test_what_is_told_to_all_nodes_is_handed_over_unless_it_is_of_this_process(receiver, ear, settings):
    layer = use(settings, Watched)
    for _ in range(2):
        await receiver.join_control()
    assert (set(layer.groups), receiver.groups) == ({"broadcast."}, [])
    for origin in (this_process.origin, "another"):
        await layer.group_send("broadcast.", foreign_event(type="broadcast.test", origin=origin))
    await until(lambda: [event["origin"] for event in ear.controls] == ["another"])


OF_NO_SITE = {key: value for key, value in LOGGED.items() if key != SITE_MARK}  # as the release before sends it


@pytest.mark.parametrize(
    "event",
    [
        *({**event, SITE_MARK: mark} for mark in ("another", None, ["x"]) for event in (LOGGED, foreign_event())),
        foreign_event(type="broadcast.test", **{SITE_MARK: "another"}),
        foreign_event(body="\x00", **{SITE_MARK: "another"}),
        OF_NO_SITE,
        {"type": "broadcast.test"},
    ],
)
async def test_an_event_of_another_site_is_passed_over_and_so_is_one_of_none_that_asks_for_belief(
    event, receiver, ear, settings, caplog
):
    layer = use(settings, Watched)
    await receiver.add("broadcast")
    for each in (event, LOGGED):
        await layer.group_send("broadcast", each)
    await until(lambda: ear.hints)
    assert (ear.heads, ear.controls, caplog.text) == ([1], [], "")


async def test_an_ephemeral_frame_may_come_from_anyone_who_knows_no_site(receiver, ear, settings):
    """Code that knows nothing of this app, or the release before, which knew of no marks."""
    layer = use(settings, Watched)
    await receiver.add("broadcast")
    for event in ({"type": EVENT, "body": "hi"}, {**OF_NO_SITE, "offset": None, "epoch": "", "head": None}):
        await layer.group_send("broadcast", event)
    await until(lambda: ear.heads == [None, None])


@pytest.mark.parametrize(
    "event",
    [{"type": EVENT}, foreign_event(offset=1), {"type": EVENT, "body": "hi", "group": "cursed"}],
    ids=["plain", "logged", "a hub that fails"],
)
async def test_an_event_that_is_not_sound_is_ignored(event, receiver, ear, settings, caplog):
    layer = use(settings, Watched)
    await receiver.add("broadcast")
    await layer.group_send("broadcast", event)
    await layer.group_send("broadcast", LOGGED)
    await until(lambda: ear.heads == [1])
    assert "not sound" in caplog.text


@only_in_memory
async def test_a_layer_that_has_forgotten_is_told_again(receiver, settings):
    layer = use(settings, Watched)
    await receiver.renew()
    assert layer.calls == []
    await receiver.add("broadcast")
    await layer.flush()
    await receiver.renew()
    assert set(layer.groups) == {"broadcast"}


async def test_groups_are_renewed_in_slices(receiver, settings, monkeypatch):
    monkeypatch.setattr(module, "RENEWED_AT_ONCE", 2)
    layer = use(settings, Watched)
    for group in "abcde":
        await receiver.add(group)
    slices = []
    for _ in range(5):
        layer.calls.clear()
        await receiver.renew()
        slices.append("".join(group[-1] for _, group in layer.calls))
    assert slices == ["ab", "cd", "ea", "bc", "de"]


async def test_a_layer_that_is_swapped_is_left_and_the_new_one_entered(receiver, ear, settings, caplog):
    old = use(settings, Watched)
    await receiver.add("broadcast")
    await receiver.add("staff")
    settings.CHANNEL_LAYERS = {}  # a site without a layer loses nothing but speed
    await receiver.renew()
    assert old.groups == {}
    await receiver.add("news")
    await receiver.discard("news")
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"{Unmade.__module__}.Unmade"}}
    assert levels(caplog) == []
    for _ in range(2):
        await receiver.renew()
    assert caplog.text.count("up to a second later: no hosts") == 1
    new = use(settings, Watched)
    await receiver.renew()
    assert set(new.groups) == {"broadcast", "broadcast.staff"}
    await new.group_send("broadcast.staff", LOGGED)
    await until(lambda: ear.heads == [1])


@pytest.mark.parametrize("way", ["new_channel", "group_add"])
async def test_a_group_that_could_not_be_entered_is_entered_later(way, receiver, settings, caplog):
    layer = use(settings, Failing)
    layer.broken = {way}
    await receiver.add("broadcast")
    await receiver.renew()
    assert layer.groups == {}
    assert caplog.text.count("cannot be reached") == 1
    layer.broken = set()
    await renewing(receiver, lambda: set(layer.groups) == {"broadcast"})


async def test_groups_that_were_never_entered_come_first(receiver, settings):
    layer = use(settings, Failing)
    await receiver.add("a")
    layer.broken = {"group_add"}
    await receiver.add("b")
    layer.broken = set()
    await renewing(receiver, lambda: set(layer.groups) == {"broadcast.a", "broadcast.b"})
    assert layer.calls[:2] == [("add", "broadcast.a"), ("add", "broadcast.b")]


@pytest.mark.parametrize(("way", "method"), [("group_add", "renew"), ("group_discard", "close")])
async def test_the_first_failure_ends_the_round(way, method, receiver, settings):
    layer = use(settings, Failing)
    for group in "abc":
        await receiver.add(group)
    layer.tries.clear()
    layer.broken = {way}
    await getattr(receiver, method)()
    assert layer.tries.count(way) == TRIES


async def test_a_layer_that_hangs_holds_up_one_join_and_not_each(receiver, settings, monkeypatch):
    monkeypatch.setattr(module, "LAYER_TIMEOUT", 0.05)
    monkeypatch.setattr(module, "RETRY_AFTER", 60.0)
    layer = use(settings, Gated)
    layer.gate.clear()
    layer.gate.wait = begun = AsyncMock(side_effect=layer.gate.wait)
    await asyncio.gather(*(receiver.add(f"g{number}") for number in range(50)))
    assert (begun.call_count, layer.groups) == (1, {})
    assert len(receiver.groups) == 50


@pytest.mark.parametrize("way", ["send", "group_add", "group_discard", "receive"])
async def test_a_connection_that_died_while_it_was_kept_is_no_outage(way, receiver, ear, settings, caplog):
    """When Redis was away, each connection in the pool of its client fails once, on its next use."""
    layer = use(settings, Failing)
    layer.broken_once = ["receive"] * (TRIES - 1) if way == "receive" else []
    await receiver.add("broadcast")
    layer.broken_once = layer.broken_once or [way]
    await receiver.renew()
    await layer.group_send("broadcast", LOGGED)
    await until(lambda: ear.heads == [1])
    await receiver.discard("broadcast")
    assert (layer.broken_once, layer.groups, levels(caplog)) == ([], {}, [])


async def test_a_layer_that_gives_up_when_nothing_comes_is_listened_to_again(receiver, ear, settings, caplog):
    """As that of channels_redis.core, whose client times out."""
    layer = use(settings, Impatient)
    await receiver.add("broadcast")
    await until(lambda: layer.patience_lost > 2)
    async with asyncio.timeout(10):
        while not ear.hints:  # what comes while a layer on Redis gives up is lost
            await layer.group_send("broadcast", LOGGED)
            await asyncio.sleep(0.01)
    assert levels(caplog) == []


async def test_a_channel_that_is_full_is_no_outage(receiver, settings, caplog):
    layer = use(settings, Failing)
    await receiver.add("broadcast")
    layer.is_full = True
    await receiver.renew()
    assert "send" in layer.tries
    assert levels(caplog) == []


@pytest.mark.parametrize("way", ["send", "receive"])
async def test_the_layer_is_back_when_the_receiver_hears_through_it(way, receiver, ear, settings, caplog):
    """That groups can be added, which does not reach Redis with channels_redis.pubsub, or sent to, is not enough."""
    layer = use(settings, Failing)
    layer.broken = {way}
    await receiver.add("broadcast")
    if way == "receive":
        await until(lambda: this_process.health.layer.is_failing)
    for _ in range(3):
        await receiver.renew()
    assert (levels(caplog), f"{way} failed" in caplog.text) == (["ERROR"], True)
    layer.broken = set()
    await renewing(receiver, lambda: not this_process.health.layer.is_failing)
    assert levels(caplog) == ["ERROR", "WARNING"]
    await layer.group_send("broadcast", LOGGED)
    await until(lambda: ear.heads == [1])


async def test_what_was_sent_before_a_failure_does_not_tell_that_it_is_over(receiver, ear, settings, caplog):
    layer = use(settings, Failing)
    layer.broken = {"receive"}
    await receiver.add("broadcast")
    await receiver.renew()
    layer.broken = {"group_add"}
    await receiver.renew()
    await layer.group_send("broadcast", LOGGED)
    await until(lambda: ear.hints)
    assert levels(caplog) == ["ERROR"]
