"""Database threads of a node: which are used when, and that their connections are dropped when they must be."""

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest
from asgiref.sync import async_to_sync
from django.db import DatabaseError, connection, connections

from broadcast.engine.health import Health
from broadcast.engine.storage import threads as module
from broadcast.engine.storage.threads import CallersThread, NodeDatabase, OwnThreads, threads_for_loop
from broadcast.engine.system import System
from broadcast.exceptions import LogUnavailable, NoLog
from tests.kit.clock import StandingClock
from tests.kit.waiting import until, wait_until


@pytest.fixture
def threads(clock: StandingClock) -> Iterator[OwnThreads]:
    threads = OwnThreads(System(monotonic=clock))
    yield threads
    threads.close()
    wait_until(lambda: not own_threads())


def own_threads() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("broadcast-reader", "broadcast-writer", "broadcast-late"))]


def thread_name() -> str:
    return threading.current_thread().name


def select_one() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return id(connection.connection)


async def test_reading_and_writing_have_a_thread_each(threads):
    """A slow write does not hold up reading, and closing lets it finish before the threads end."""
    under_way, release = threading.Event(), threading.Event()
    slow = asyncio.ensure_future(threads.write(lambda: under_way.set() or (release.wait(10) and thread_name())))
    assert (await threads.read(thread_name)).startswith("broadcast-reader")
    with pytest.raises(ZeroDivisionError):
        await threads.read(lambda: 1 / 0)
    await until(under_way.is_set)
    threads.close()
    assert not slow.done()
    release.set()
    assert (await slow).startswith("broadcast-writer")


@pytest.mark.parametrize(("is_closed", "name"), [(False, "broadcast-writer"), (True, "broadcast-late-writer")])
@pytest.mark.django_db(transaction=True)
async def test_a_submitted_write_finds_a_thread_even_when_the_writer_is_gone(threads, is_closed, name):
    names: list[str] = []
    if is_closed:
        threads.close()
    threads.submit_write(lambda: (select_one(), names.append(thread_name())))
    await until(lambda: names)
    assert names[0].startswith(name)


@pytest.mark.django_db(transaction=True)
async def test_a_thread_keeps_its_connection_until_it_is_old(threads, clock):
    first = await threads.read(select_one)
    clock.now += module.MAX_CONNECTION_AGE
    assert await threads.read(select_one) == first
    for _ in range(2):  # the next one may grow as old
        clock.now += 1
        await threads.read(select_one)
        assert await threads.read(lambda: connection.connection) is None
        await threads.read(select_one)
        clock.now += module.MAX_CONNECTION_AGE


@pytest.mark.django_db(transaction=True)
async def test_a_connection_that_failed_is_dropped(threads):
    def fail() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM nowhere")

    with pytest.raises(DatabaseError):
        await threads.read(fail)
    assert await threads.read(lambda: connection.connection) is None


@pytest.mark.django_db(transaction=True)
async def test_autocommit_is_on_here_whatever_the_site_configured(threads, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(connections.settings["default"], "AUTOCOMMIT", False)
        assert await threads.write(lambda: (select_one(), connection.get_autocommit())[1]) is True


async def choose() -> tuple[type[module.DatabaseThreads], list[str]]:
    """The threads that are chosen, and the names of this one and of those that read and write."""
    chosen = await threads_for_loop(System())
    names = [thread_name(), await chosen.read(thread_name), await chosen.write(thread_name)]
    chosen.close()
    return type(chosen), names


async def test_a_server_has_threads_of_its_own_in_the_main_thread_and_in_another():
    assert (await choose())[0] is OwnThreads
    assert (await asyncio.to_thread(asyncio.run, choose()))[0] is OwnThreads


def test_a_loop_that_a_synchronous_caller_waits_for_uses_the_callers_thread():
    kind, (here, *there) = async_to_sync(choose)()
    main = threading.main_thread().name
    assert kind is CallersThread
    assert here != main
    assert there == [main, main]


def fail_with(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("way", ["read", "write"])
async def test_a_node_notes_what_fails_and_what_works(way, caplog):
    caplog.set_level(logging.WARNING, "broadcast")
    health = Health()
    database = NodeDatabase(System(), health)
    run = getattr(database, way)
    for error, dependency in ((NoLog("x"), health.no_log), (LogUnavailable("x"), health.log)):
        for _ in range(2):
            with pytest.raises(type(error)):
                await run(fail_with, error)
        assert health.failing == {dependency}
        with pytest.raises(ZeroDivisionError):
            await run(lambda: 1 / 0)
        assert health.failing == {dependency}
        assert await run(lambda: "works") == "works"
        assert health.failing == set()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"] * 2
    database.close()


async def test_a_node_makes_threads_when_it_needs_them():
    database = NodeDatabase(System(), Health())
    assert own_threads() == []
    first, second = await asyncio.gather(database.threads(), database.threads())
    assert first is second
    await database.read(thread_name)
    database.close()
    database.close()
    await until(lambda: not own_threads())
    assert (await database.write(thread_name)).startswith("broadcast-writer")
    database.close()
