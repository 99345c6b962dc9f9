"""Notices by PostgreSQL: a thread that listens and notifies, a server that goes, a pooler in between."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connections
from django.db.utils import load_backend

from broadcast.engine.hints import postgresql
from broadcast.engine.hints.hint import Hint
from broadcast.engine.hints.postgresql import NotifyWay
from broadcast.engine.node import Node
from broadcast.engine.process import Process
from broadcast.engine.system import System
from tests.kit.servers import new_database
from tests.kit.streams import end_nodes, frame
from tests.kit.waiting import until, wait_until
from tests.services import Postgres

EVENT = {"type": "broadcast.test"}


def new_process() -> Process:
    return Process(System(hint_ways=lambda process: [NotifyWay(process)]))


def way_of(process: Process) -> Any:
    return process.hints.neighbours.ways[0]


@pytest.fixture(autouse=True)
def _database(postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any) -> Iterator[None]:
    address = urlsplit(new_database(postgres_server, "notify"))
    place = {"NAME": address.path[1:], "HOST": address.hostname, "PORT": address.port, "USER": address.username}
    backend = "django.db.backends.postgresql"
    settings = {**connections["default"].settings_dict, "ENGINE": backend, "OPTIONS": {"pool": True}, **place}
    wrapper = load_backend(backend).DatabaseWrapper(settings, "default")
    monkeypatch.setattr(postgresql, "connections", {"default": wrapper})
    with django_db_blocker.unblock():
        yield


@pytest.fixture
async def node(heard: list[Any]) -> AsyncIterator[Node]:
    process = new_process()
    with process.node() as node:
        await until(lambda: way_of(process).is_listening)
        yield node
    await end_nodes(process)
    await until(lambda: not way_of(process).is_listening)


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    monkeypatch.setattr(postgresql, "IDLE_TIMEOUT", 0.05)
    process = new_process()
    yield process
    process.hints.flush()
    wait_until(lambda: not way_of(process)._is_running)


async def test_heads_and_events_cross_and_no_text_does(node, sender, heard):
    sender.hints.publish(Hint("broadcast", [frame(None, "typing")]))
    sender.hints.publish(Hint("broadcast", [frame(7, "secret")], "e", 7))
    sender.hints.publish_control({**EVENT, "text": "ä"})
    await until(lambda: len(heard) == 2)
    assert Hint("broadcast", [], "e", 7) in heard
    assert {**EVENT, "text": "ä"} in heard


def cut_listeners() -> None:
    with postgresql.own_connection() as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN broadcast'")


async def test_a_connection_that_is_cut_is_made_anew(node, sender, heard, monkeypatch, caplog):
    monkeypatch.setattr(postgresql, "PAUSE_AFTER_FAILURE", 0.01)
    await asyncio.to_thread(cut_listeners)
    await until(lambda: caplog.records)
    await until(lambda: way_of(node.process).is_listening)
    sender.hints.publish_control(EVENT)
    await until(lambda: heard == [EVENT])


async def test_nobody_listens_through_a_pooler_and_whoever_sends_through_one_is_heard(
    node, sender, heard, monkeypatch, caplog
):
    monkeypatch.setattr("psycopg.ConnectionInfo.backend_pid", 4711)
    behind = new_process()
    with behind.node():
        await until(lambda: way_of(behind).is_pooled and not way_of(behind)._is_running)
        behind.hints.neighbours.listen(behind.node())
        assert not way_of(behind)._is_running
        assert [record.getMessage() for record in caplog.records] == [postgresql.FAILED % postgresql.POOLED]
        behind.hints.publish_control(EVENT)
        await until(lambda: heard == [EVENT, EVENT])  # of its own node too, which needs no way
    await end_nodes(behind)
    await until(lambda: not way_of(behind)._is_running)


def test_where_no_thread_can_be_started_nothing_waits(sender):
    def start(*args: Any) -> None:
        raise RuntimeError("no more threads")

    process = Process(System(hint_ways=lambda process: [NotifyWay(process)], start_thread=start))
    process.hints.publish_control(EVENT)
    process.hints.flush()
    assert not way_of(process)._outbox
