"""What chaos finds: in records made up for its judge, and in a short run. `make chaos` plays a long one."""

import asyncio
import subprocess
import sys
from collections.abc import Callable

import pytest

from chaos import GROUPS
from chaos.judge.archive import Change, Row
from chaos.judge.pages import follow
from chaos.judge.timeline import VOID, Timeline
from chaos.judge.verdict import Verdict
from chaos.ledger import SENT
from chaos.pages import Event
from chaos.proxy import Link, Quality
from tests.kit.trial import GROUP, Trial
from tests.services import Missing, do_without, postgres_program, program
from tests.site import ROOT

SECONDS = 7
END_TIMEOUT = 240


def all_is_well(trial: Trial) -> None:
    trial.becomes("one")
    trial.welcomed("one", 0)
    trial.logs(1, 2)
    trial.hears(1, 2)


def missing(trial: Trial) -> None:
    trial.becomes("one")
    trial.welcomed("one", 0)
    trial.logs(1, 2, 3)
    trial.hears(1, 3)


def doubled(trial: Trial) -> None:
    all_is_well(trial)
    trial.hears(2)


def not_in_the_log(trial: Trial) -> None:
    all_is_well(trial)
    trial.ledger.begin(["m-3"], GROUP, "alone", 0)
    trial.ledger.settle({"m-3": SENT}, "", 0)


def erased_and_told(trial: Trial) -> None:
    all_is_well(trial)
    trial.becomes("two", 2, 2, 2)
    trial.told("reset", epoch="two", offset=2)
    trial.logs(3)
    trial.hears(3)


def erased_and_not_told(trial: Trial) -> None:
    all_is_well(trial)
    trial.becomes("two", 2, 2, 2)
    trial.logs(3)
    trial.hears(3)


def erased_and_told_that_nothing_is_lost(trial: Trial) -> None:
    all_is_well(trial)
    trial.becomes("two", 2, 2, 2)
    trial.told("reset", epoch="two", offset=2, lost=False)


def an_epoch_that_is_over(trial: Trial) -> None:
    erased_and_told(trial)
    trial.told("reset", epoch="one", offset=2)


def a_loss_that_was_none(trial: Trial) -> None:
    all_is_well(trial)
    trial.connects()
    trial.welcomed("one", 2, recovered=False)


def pruned_and_told(trial: Trial) -> None:
    trial.becomes("one")
    trial.welcomed("one", 0)
    trial.logs(1, 2, 3)
    trial.becomes("one", 3, 0, 2)
    trial.told("reset", epoch="one", offset=2)
    trial.hears(3)


def skipped_by_a_reset(trial: Trial) -> None:
    """The first message of the new epoch is lost, though the reset would have had to lead to it."""
    all_is_well(trial)
    trial.becomes("two", 2, 2, 2)
    trial.logs(3)
    trial.told("reset", epoch="two", offset=3)


def begun_from_nothing(trial: Trial) -> None:
    trial.becomes(VOID)
    trial.welcomed(VOID, 0)
    trial.becomes("one")
    trial.logs(1)
    trial.told("reset", epoch="one", offset=0, lost=False)
    trial.hears(1)


def restored_and_told(trial: Trial) -> None:
    """What the backup did not have is sent again at the same offset, in an epoch of its own."""
    all_is_well(trial)
    trial.becomes("one", 1, is_restored=True)
    trial.becomes("two", 1, 1)
    trial.told("reset", epoch="two", offset=1)
    trial.logs(2, key="new")
    trial.hears(2, key="new")


def restored_and_told_of_the_lost(trial: Trial) -> None:
    all_is_well(trial)
    trial.becomes("one", 1, is_restored=True)
    trial.becomes("two", 1, 1)
    trial.told("reset", epoch="two", offset=1)
    trial.logs(2, key="new")
    trial.hears(2)


def fleeting(trial: Trial, *offsets: None) -> None:
    all_is_well(trial)
    trial.ledger.begin(["m-None"], GROUP, "fleeting", 0)
    trial.hears(*offsets)


def ephemeral_and_not_heard(trial: Trial) -> None:
    fleeting(trial)


def ephemeral_twice(trial: Trial) -> None:
    fleeting(trial, None, None)


def ephemeral_from_nobody(trial: Trial) -> None:
    all_is_well(trial)
    trial.hears(None)


def late(trial: Trial) -> None:
    all_is_well(trial)
    trial.logs(3, at=1)
    trial.hears(3, at=8)


def late_for_a_reason(trial: Trial) -> None:
    late(trial)
    trial.conditions.add(trial.clock(), trial.clock() + 7, GROUP)


def late_while_another_group_is_held(trial: Trial) -> None:
    late(trial)
    trial.conditions.add(trial.clock(), trial.clock() + 7, GROUPS[1])


def waited_in_vain(trial: Trial, is_away: bool = False) -> None:
    """It has the message as soon as it comes again: on the connection before it had waited for too long."""
    trial.becomes("one")
    trial.welcomed("one", 0)
    if is_away:
        trial.client.closed()
        trial.client.socket = None
        trial.client.go_on()
    trial.passes(9)
    trial.logs(1, at=-8)
    trial.client.closed()
    trial.connects()
    trial.welcomed("one", 0)
    trial.hears(1)


def away_meanwhile(trial: Trial) -> None:
    waited_in_vain(trial, is_away=True)


@pytest.mark.parametrize(
    ("what_happens", "expected"),
    [
        (all_is_well, ""),
        (missing, "missing"),
        (doubled, "doubled"),
        (not_in_the_log, "sent and not in the log"),
        (erased_and_told, ""),
        (erased_and_not_told, "told in a wrong epoch, did not reach the head"),
        (erased_and_told_that_nothing_is_lost, "not true"),
        (an_epoch_that_is_over, "not true, did not reach the head"),
        (a_loss_that_was_none, "not true"),
        (pruned_and_told, ""),
        (skipped_by_a_reset, "not true"),
        (begun_from_nothing, ""),
        (restored_and_told, ""),
        (restored_and_told_of_the_lost, "told in a wrong epoch"),
        (ephemeral_and_not_heard, ""),
        (ephemeral_twice, "ephemeral twice"),
        (ephemeral_from_nobody, "ephemeral from nobody"),
        (late, "late"),
        (late_for_a_reason, ""),
        (late_while_another_group_is_held, "late"),
        (waited_in_vain, "late"),
        (away_meanwhile, ""),
    ],
)
async def test_the_judge_notices(what_happens: Callable[[Trial], None], expected: str) -> None:
    trial = Trial()
    what_happens(trial)
    assert trial.violations() == set(filter(None, expected.split(", ")))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([("live", 0), ("message", 1), ("moved", 1), ("message", 2)], ""),
        ([("live", 0), ("message", 2)], "page missed or doubled"),
        ([("live", 0), ("message", 1), ("message", 1)], "page missed or doubled"),
        ([("live", 0), ("moved", 1), ("message", 2)], "not true"),
        ([("live", 0), ("message", None), ("message", None)], "page heard ephemeral twice"),
    ],
)
def test_the_judge_notices_what_a_page_missed(told: list[tuple[str, int | None]], expected: str) -> None:
    rows = [Row(n, 0.0, "one", n, GROUP, n, "server", "Server", "", None, f"ref-{n}", None) for n in (1, 2)]
    line = Timeline([Change(0, 0.0, GROUP, "one", 0, 0, 0, False)], rows)
    verdict = Verdict()
    follow(verdict, "page", [Event(kind, GROUP, "one", offset, f"ref-{offset}", 0.0) for kind, offset in told], line)
    assert set(verdict.counts) == set(filter(None, [expected]))


async def test_a_link_that_is_stopped_in_one_direction_forwards_in_the_other() -> None:
    came: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        came.put_nowait(await reader.read(100))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as target:
        link = Link(target.sockets[0].getsockname()[1])
        link.ways["to"].set(Quality(is_stopped=True))
        async with await asyncio.start_server(link.connected, "127.0.0.1", 0) as proxy:
            reader, writer = await asyncio.open_connection(*proxy.sockets[0].getsockname())
            writer.write(b"hi")
            assert await reader.readexactly(5) == b"hello"
            assert came.empty()
            link.ways["to"].set(Quality())
            assert await came.get() == b"hi"
            assert await reader.read() == b""
            writer.close()


def test_every_client_sees_each_message_once_and_in_order() -> None:
    try:
        program("redis-server")
        postgres_program("postgres")
    except Missing as missing:
        do_without(str(missing))
    world = ("--seconds", str(SECONDS), "--seed", "25", "--clients", "60", "--rate", "80", "--pages", "0")
    command = [sys.executable, "-W", "error", "-m", "chaos", *world]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            told, _ = run.communicate(timeout=END_TIMEOUT)
        except BaseException:
            run.terminate()  # it ends its servers, too
            raise
    print(told)
    assert run.returncode == 0, told
