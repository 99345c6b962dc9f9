"""Which way a connection is written to, and what else is set up at the server behind it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import Mock

import pytest

from broadcast.engine.frames import Dialect
from broadcast.engine.node import Node
from broadcast.engine.process import current_process
from broadcast.engine.transports import connect
from broadcast.engine.transports.asgi import AsgiTransport
from broadcast.engine.transports.connect import BY_ASGI, DIRECTLY, say_once, transport_for
from broadcast.engine.transports.daphne import behind
from broadcast.engine.transports.daphne.drain import Drain
from broadcast.engine.transports.daphne.internals import WriteBackpressure
from broadcast.engine.transports.daphne.receive import ReceiveLimit
from broadcast.engine.transports.direct import DirectTransport
from tests.kit.streams import end_nodes


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    yield current_process().node()
    await end_nodes()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "broadcast")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "broadcast"]


async def test_daphne_is_written_to_directly_and_the_log_says_so_once(connection, node, said, monkeypatch):
    walks: list[Any] = []
    monkeypatch.setattr(connect, "daphne_behind", lambda send: walks.append(send) or behind.daphne_behind(send))  # type: ignore[func-returns-value]
    for number in range(1, 4):
        transport = transport_for(node, connection.send, Dialect.V1)
        assert isinstance(transport, DirectTransport)
        assert len(walks) == number
    assert said() == [DIRECTLY.format("daphne")]
    assert isinstance(connection.protocol.application_queue, ReceiveLimit)
    assert transport.drain is node.part(Drain)
    assert node.part(Drain).servers == [connection.server]


async def test_a_setting_turns_it_off(connection, node, said, settings):
    settings.BROADCAST = {"DIRECT_WRITES": False}
    for _ in range(3):
        transport = transport_for(node, connection.send, Dialect.V1)
        assert isinstance(transport, AsgiTransport)
    assert said() == [BY_ASGI]
    assert type(connection.transport.producer) is WriteBackpressure
    assert transport.drain is node.part(Drain)


async def test_a_client_has_a_second_to_answer_a_close_whatever_the_time_is(connection, node, monkeypatch):
    """autobahn's timers end at whole seconds of the clock: of its one second, this client would be given a hundredth.

    Then it is cut off, and what it was told last, such as when to come back, is lost with what the kernel holds of it.
    """
    waits: list[float] = []
    timer = connection.protocol.factory._batched_timer
    monkeypatch.setattr(timer, "_get_seconds", lambda: 1000.99)
    monkeypatch.setattr(timer, "_create_delayed_call", lambda delay, *_: (waits.append(delay), Mock())[1])
    transport = transport_for(node, connection.send, Dialect.V1)
    await connection.accept()
    await transport.disconnect(4000)
    assert 1 <= waits[-1] <= 2


async def test_another_server_is_written_to_by_asgi(node, said):
    transport = transport_for(node, asyncio.Queue().put, Dialect.V1)
    assert isinstance(transport, AsgiTransport)
    assert said() == [BY_ASGI]
    assert transport.drain is None


async def test_each_way_is_said_once(node, said):
    for way in ("by foot", "by foot", "by train", "by foot"):
        say_once(node, way)
    assert said() == ["by foot", "by train"]
