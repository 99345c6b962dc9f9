"""A hub's own threads: which are used when, and that their connections are dropped when they must be."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError, connection, connections

from broadcast.engine.storage import threads as threads_module
from broadcast.engine.storage.threads import CallersThread, DatabaseThreads, database_threads
from tests.engine.listening import until


@pytest.fixture
def threads() -> Iterator[DatabaseThreads]:
    threads = DatabaseThreads()
    yield threads
    threads.close()
    deadline = time.monotonic() + 10
    while own_threads():
        assert time.monotonic() < deadline, own_threads()
        time.sleep(0.002)


def own_threads() -> list[str]:
    return [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith(("broadcast-reader", "broadcast-writer"))
    ]


def thread_name() -> str:
    return threading.current_thread().name


def select_one() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return id(connection.connection)


async def test_reading_and_writing_have_a_thread_each(threads: DatabaseThreads) -> None:
    assert (await threads.read(thread_name)).startswith("broadcast-reader")
    assert (await threads.write(thread_name)).startswith("broadcast-writer")


async def test_a_slow_write_does_not_hold_up_reading(threads: DatabaseThreads) -> None:
    release = threading.Event()
    slow = asyncio.ensure_future(threads.write(release.wait, 10))
    assert await threads.read(lambda: "read") == "read"
    release.set()
    assert await slow is True


async def test_what_is_raised_there_is_raised_here(threads: DatabaseThreads) -> None:
    with pytest.raises(ZeroDivisionError):
        await threads.read(lambda: 1 / 0)


async def test_closing_lets_what_is_under_way_finish_and_ends_the_threads() -> None:
    threads = DatabaseThreads()
    under_way, release = threading.Event(), threading.Event()
    slow = asyncio.ensure_future(threads.write(lambda: under_way.set() or release.wait(10)))
    await threads.read(thread_name)
    await until(under_way.is_set)
    threads.close()
    assert not slow.done()
    release.set()
    assert await slow is True
    await until(lambda: not own_threads())


async def test_writes_are_submitted_without_waiting(threads: DatabaseThreads) -> None:
    names: list[str] = []
    threads.submit_write(lambda: names.append(thread_name()))
    await until(lambda: names)
    assert names[0].startswith("broadcast-writer")


@pytest.mark.django_db(transaction=True)
async def test_writes_find_a_thread_even_when_the_writer_is_gone() -> None:
    threads = DatabaseThreads()
    threads.close()
    seen: list[tuple[str, object]] = []

    def write() -> None:
        select_one()
        seen.append((thread_name(), threading.current_thread()))

    threads.submit_write(write)
    await until(lambda: seen)
    name, thread = seen[0]
    assert isinstance(thread, threading.Thread)
    await until(lambda: not thread.is_alive())
    assert not name.startswith("broadcast-writer")


@pytest.mark.django_db(transaction=True)
async def test_a_thread_keeps_its_connection(threads: DatabaseThreads) -> None:
    first = await threads.read(select_one)
    assert await threads.read(select_one) == first


@pytest.mark.django_db(transaction=True)
async def test_a_connection_that_failed_is_dropped(threads: DatabaseThreads) -> None:
    def fail() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM nowhere")

    with pytest.raises(OperationalError):
        await threads.read(fail)
    assert await threads.read(lambda: connection.connection) is None


@pytest.mark.django_db(transaction=True)
async def test_a_connection_that_has_grown_old_is_dropped(
    threads: DatabaseThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    await threads.read(select_one)
    monkeypatch.setattr(threads_module, "MAX_CONNECTION_AGE", -1.0)
    await threads.read(select_one)
    assert await threads.read(lambda: connection.connection) is None


@pytest.mark.django_db(transaction=True)
async def test_closing_closes_the_connections() -> None:
    threads = DatabaseThreads()
    wrapper = await threads.read(lambda: (select_one(), connections["default"])[1])
    assert wrapper.connection is not None
    threads.close()
    await until(lambda: wrapper.connection is None)
    await until(lambda: not own_threads())


# Which threads


async def test_a_server_in_the_main_thread_has_threads_of_its_own() -> None:
    chosen = await database_threads()
    assert type(chosen) is DatabaseThreads
    chosen.close()


def test_a_loop_that_a_synchronous_caller_waits_for_uses_the_callers_thread() -> None:
    async def work() -> tuple[type, bool, list[str]]:
        chosen = await database_threads()
        names = [thread_name(), await chosen.read(thread_name), await chosen.write(thread_name)]
        chosen.close()
        return type(chosen), chosen.are_callers, names

    kind, are_callers, (here, *there) = async_to_sync(work)()
    main = threading.main_thread().name
    assert (kind, are_callers) == (CallersThread, True)
    assert here != main
    assert there == [main, main]


def test_a_server_in_another_thread_has_threads_of_its_own() -> None:
    async def work() -> type:
        chosen = await database_threads()
        chosen.close()
        return type(chosen)

    assert in_a_thread(lambda: asyncio.run(work())) is DatabaseThreads


def in_a_thread(function):  # type: ignore[no-untyped-def]
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]
