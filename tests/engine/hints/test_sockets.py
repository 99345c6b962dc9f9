"""Sockets among the processes of one machine: full queues, the dead, forks, directories that go."""

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from broadcast.engine.hints import sockets
from broadcast.engine.hints.directories import Place
from broadcast.engine.hints.hint import Hint
from broadcast.engine.hints.sockets import SocketWay
from broadcast.engine.node import Node
from broadcast.engine.process import Process
from broadcast.engine.system import System
from tests.kit.streams import end_nodes, frame
from tests.kit.waiting import until

EVENT = {"type": "broadcast.test"}


def process_with_sockets() -> Process:
    return Process(System(hint_ways=lambda process: [SocketWay(process)]))


@pytest.fixture(autouse=True)
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    place = Place(f"{tmp_path}/hints", frozenset({os.getuid()}), 0o700, (os.getuid(), os.getgid()))
    monkeypatch.setattr(sockets, "places", lambda: [place])
    return tmp_path / "hints"


@pytest.fixture
async def node(heard: list[Any]) -> AsyncIterator[Node]:
    """A node of another process, which listens."""
    process = process_with_sockets()
    with process.node() as node:
        yield node
    await end_nodes(process)


@pytest.fixture
def sender() -> Iterator[Process]:
    process = process_with_sockets()
    yield process
    process.hints.flush()


def head(number: int, group: str = "broadcast") -> Hint:
    return Hint(group, [frame(number)], "e", number)


def told(number: int, group: str = "broadcast") -> Hint:
    return Hint(group, [], "e", number)


async def test_where_nobody_else_listens_nobody_is_told_and_who_begins_to_listen_is_heard_of(node, heard):
    neighbours = node.process.hints.neighbours
    assert neighbours.is_alone
    other = process_with_sockets()
    with other.node():
        await until(lambda: not neighbours.is_alone)
        neighbours.listen(node)
        assert not neighbours.is_alone
        node.process.hints.publish_control(EVENT)
        await until(lambda: heard == [EVENT, EVENT])  # its own node, and the other
    await end_nodes(other)
    neighbours.listen(node)
    assert neighbours.is_alone


@pytest.mark.parametrize("layer", [{}, {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}])
async def test_others_hear_at_once_and_it_leaves_nothing_behind(node, sender, heard, directory, settings, layer):
    settings.CHANNEL_LAYERS = layer
    node.process.hints.publish_control(EVENT)  # its own node, which hears it once
    await until(lambda: heard == [EVENT])
    sender.hints.publish(head(1))
    sender.hints.publish_control({**EVENT, "n": 2})
    sender.hints.publish(Hint("broadcast", [frame(None, "typing")]))
    await until(lambda: len(heard) == 4)
    assert told(1) in heard
    assert {**EVENT, "n": 2} in heard
    (ephemeral,) = (what.frames for what in heard[1:] if isinstance(what, Hint) and what.frames)
    assert ephemeral[0].fields["body"] == "typing"
    await end_nodes(node.process)
    assert not directory.exists()


@pytest.mark.parametrize(
    ("layers", "on"),
    [({}, False), ({"default": {"BACKEND": "channels_redis.core.RedisChannelLayer"}}, True)],
)
async def test_nobody_listens_or_is_told_where_it_is_off_or_a_layer_is_there(settings, directory, layers, on):
    settings.CHANNEL_LAYERS, settings.BROADCAST = layers, {"HINTS_WITHOUT_LAYER": on}
    process = process_with_sockets()
    process.hints._thread.put = lambda *event: None
    with process.node():
        process.hints.publish_control(EVENT)
    assert not directory.exists()
    await end_nodes(process)


async def test_no_sender_waits_for_a_full_queue_and_the_newest_head_of_each_group_arrives(node, sender, heard):
    """The loop that listens does not run meanwhile."""
    for number in range(1, 200):
        sender.hints.publish(head(number))
        sender.hints.publish(head(number, "other"))
    kept = [outbox for outbox, _ in sender.hints.neighbours.ways[0]._kept.values()]
    assert [dict(outbox.heads) for outbox in kept] == [{"broadcast": ("e", 199), "other": ("e", 199)}]
    await until(lambda: told(199) in heard and told(199, "other") in heard)
    assert len(heard) < 40
    await until(lambda: not sender.hints.neighbours.ways[0]._kept)


async def test_events_come_once_and_in_order_past_a_full_queue(node, sender, heard):
    events = [{**EVENT, "n": number} for number in range(100)]
    for event in events:
        sender.hints.publish_control(event)
    await until(lambda: len(heard) >= len(events))
    assert heard == events


def test_who_reads_nothing_is_given_up(sender, directory, monkeypatch):
    monkeypatch.setattr(sockets, "PATIENCE", 0.05)
    directory.mkdir(mode=0o700)
    way = sender.hints.neighbours.ways[0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stuck:
        stuck.bind(str(directory / "stuck"))
        for number in range(100):
            sender.hints.publish_control({**EVENT, "n": number})
        assert way._kept
        sender.hints.flush()
    while way._is_running:
        sender.system.sleep(0.001)
    assert way._kept == {}


async def test_a_socket_that_was_removed_is_made_anew(node, directory):
    (path,) = directory.iterdir()
    path.unlink()
    directory.rmdir()
    node.process.hints.neighbours.listen(node)
    assert len(list(directory.iterdir())) == 1
    before = list(directory.iterdir())
    node.process.hints.neighbours.listen(node)
    assert list(directory.iterdir()) == before


async def test_a_child_leaves_the_parents_socket_where_it_is_and_does_not_keep_it_alive(node, sender, heard, directory):
    (path,) = directory.iterdir()
    reader, writer = os.pipe()
    told, tell = os.pipe()
    if (child := os.fork()) == 0:
        os.close(writer)
        os.write(tell, b"!")  # it has let go by now
        os.read(reader, 1)  # until the parent is done
        os._exit(0)
    os.read(told, 1)
    sender.hints.publish_control(EVENT)
    await until(lambda: heard == [EVENT])
    assert path.exists()
    node.loop.remove_reader(way_of(node).socket)
    way_of(node).socket.close()  # as when the parent is killed
    sender.hints.publish_control(EVENT)
    assert not path.exists()
    for each in (writer, reader, told, tell):
        os.close(each)
    assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0


def way_of(node: Node) -> Any:
    return node.process.hints.neighbours.ways[0]._mailboxes[node]


async def test_a_loop_that_was_closed_leaves_no_socket(sender, directory):
    process = process_with_sockets()

    async def hold() -> None:
        process.node().__enter__()

    loop = asyncio.new_event_loop()
    await asyncio.to_thread(loop.run_until_complete, hold())
    assert len(list(directory.iterdir())) == 1
    loop.close()
    process.hints.publish_control(EVENT)
    assert not directory.exists()
    gc.collect()


def test_what_is_too_large_for_a_datagram_is_left_out(sender, directory):
    directory.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(directory / "other"))
        sender.hints.neighbours.tell({**EVENT, "text": "x" * sockets.MAX_NOTICE})
        sender.hints.neighbours.tell(EVENT)
        assert b"xxx" not in other.recv(2 * sockets.MAX_NOTICE)
