"""`manage.py broadcast`: sending from a shell, and reading along in one."""

import asyncio
import io
import signal
import sqlite3
import threading
from collections.abc import Callable
from contextlib import aclosing, closing, nullcontext
from subprocess import PIPE, Popen
from typing import IO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import OperationalError, transaction

from broadcast import asend_many
from broadcast.engine.hub.reader import messages
from broadcast.engine.process import this_process
from broadcast.exceptions import LogUnavailable
from broadcast.management.commands.broadcast import line, printable
from tests.kit.log import failing_if
from tests.site import Site

TAIL = ("manage.py", "broadcast", "tail")
END_SECONDS = 60


def run(*args: str, **options) -> str:
    out = io.StringIO()
    call_command("broadcast", *args, stdout=out, **options)
    return out.getvalue()


# send


@pytest.mark.django_db
def test_send_says_where_the_message_is(broadcasts):
    assert run("send", "hello") == "Sent to broadcast as message 1.\n"
    assert run("send", "hello") == "Sent to broadcast as message 2.\n"
    broadcasts.assert_sent(body="hello", author="Server", group="broadcast", data=None, times=2)
    said = run("send", "hi", "--group", "staff", "--author", "Cron", "--data", '{"level": "info"}')
    assert said == "Sent to staff as message 1.\n"
    run("send", "hi", group="staff", author="Cron", data={"level": "info"})  # as code may pass it
    broadcasts.assert_sent(body="hi", author="Cron", group="staff", data={"level": "info"}, times=2)
    with transaction.atomic():
        assert run("send", "hello") == "Goes to broadcast when the transaction is committed.\n"


@pytest.mark.django_db
def test_send_may_be_for_one_user(broadcasts):
    ann = User.objects.create_user("ann")
    assert run("send", "hello", "--user", "ann") == f"Sent to user.{ann.pk} as message 1.\n"
    broadcasts.assert_sent(to=ann)
    with pytest.raises(CommandError, match=r"There is no user 'bob'\."):
        run("send", "hello", "--user", "bob")
    with pytest.raises(CommandError, match="not allowed with argument"):
        run("send", "hello", "--user", "ann", "--group", "staff")


@pytest.mark.django_db
def test_send_says_when_users_cannot_be_looked_up(broadcasts):
    with (
        failing_if(lambda sql: OperationalError("away") if "auth_user" in sql else None),
        pytest.raises(CommandError, match="Users cannot be looked up right now: away"),
    ):
        run("send", "hello", "--user", "ann")
    broadcasts.assert_nothing_sent()


def test_send_without_a_log_says_that_nothing_is_kept(broadcasts):
    said = run("send", "hello")
    assert said == "Sent live only to broadcast: there is no message log that keeps it (see manage.py migrate).\n"
    broadcasts.assert_sent(body="hello")


@pytest.mark.django_db
def test_send_reads_standard_input(monkeypatch, broadcasts):
    for typed in ("two\nlínes\n".encode(), b"\xff\xfe"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed), "utf-8"))
        with nullcontext() if typed[0] < 0x80 else pytest.raises(CommandError, match="from standard input is not text"):
            run("send", "-")
    broadcasts.assert_sent(body="two\nlínes")
    assert len(broadcasts) == 1


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["send", " "], "The body must be text that is not empty; it came empty."),
        (["send", "a" * 4001], "The body may have 4000 characters; it came with 4001."),
        (["send", "hello", "--data", "{"], "argument --data: it must be a JSON object, and this is not JSON"),
        (["send", "hello", "--data", "[" * 100_000], "this is not JSON"),
        (["tail", "--group", "no group"], "The group must be text that matches"),
        (["tail", "--after", "-1"], "The offset must be a whole number from 0 on; it came as a number."),
        (["tail", "--after", "x"], "argument --after: invalid int value"),
        ([], "the following arguments are required: action"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(broadcasts, args, text):
    with pytest.raises(CommandError) as refusal:
        run(*args)
    assert text in str(refusal.value)
    broadcasts.assert_nothing_sent()


# tail


@pytest.fixture
def tail(site: Site) -> Callable[..., "Popen[str]"]:
    """`tail("--after", "0")` starts `manage.py broadcast tail` with pipes to read from."""
    return lambda *args: site.spawn(*TAIL, *args, stdout=PIPE, stderr=PIPE)


@pytest.fixture
def sent(site: Site) -> Callable[..., None]:
    """`sent("one", "two")` sends from another process."""
    code = "from broadcast import send_many; send_many({!r}, group={!r}, author={!r})"

    def send_all(*bodies: str, group: str = "broadcast", author: str = "Server") -> None:
        site.manage("shell", "-v", "0", "-c", code.format(bodies, group, author))

    return send_all


def said(process: "Popen[str]", stream: IO[str] | None) -> str:
    """The next line; waits for it, and ends the process if it does not come."""
    assert stream is not None
    patience = threading.Timer(END_SECONDS, process.kill)
    patience.start()
    try:
        return stream.readline()
    finally:
        patience.cancel()


def next_line(process: "Popen[str]") -> list[str]:
    """The columns of the next line."""
    return said(process, process.stdout).rstrip("\n").split("\t")


def interrupted(process: "Popen[str]") -> tuple[int, str, str]:
    """Presses Ctrl-C; the status, and what was still said."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=END_SECONDS)
    return process.returncode, out, err


def test_tail_replays_goes_on_live_and_ends_quietly(tail, sent):
    sent("elsewhere")
    sent("one", "two", group="nobody.named.it")
    process = tail("--group", "nobody.named.it", "--after", "1")
    offset, time, author, body = next_line(process)
    assert (offset, author, body) == ("2", "Server", "two")
    assert time.startswith("20")
    sent("three\nlines\there", group="nobody.named.it", author="Ann")
    assert next_line(process)[2:] == ["Ann", r"three\nlines\there"]
    assert interrupted(process) == (0, "", "")


def test_tail_without_a_position_prints_what_comes_until_nobody_reads_it_any_more(site, tail, sent):
    sent("old")
    process = tail()
    site.spawn("-c", SENTINELS)
    assert next_line(process)[3] == "new"
    process.stdout.close()
    assert process.wait(END_SECONDS) == 0
    assert process.stderr.read() == ""


SENTINELS = """
import os, time, django
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
django.setup()
from broadcast import send
while True:
    send("new")
    time.sleep(0.1)
"""


def test_tail_tells_of_what_is_no_longer_kept_and_of_a_log_that_starts_anew(site, tail, sent):
    sent("one", "two", "three")
    with closing(sqlite3.connect(site.database)) as database, database:
        database.execute("DELETE FROM broadcast_message WHERE offset <= 2")
        database.execute("UPDATE broadcast_group SET floor = 2")
    process = tail("--after", "1")
    assert next_line(process)[3] == "three"
    assert said(process, process.stderr) == "Not everything after 1 can be had. Going on after 2.\n"
    assert site.manage("broadcast", "renew").stdout == "broadcast: a new epoch has begun.\n"
    assert site.manage("broadcast", "renew", "news").stdout == "news: not in the log.\n"
    assert said(process, process.stderr) == "The message log starts anew. Going on after 3.\n"
    sent("again")
    assert next_line(process)[0::3] == ["4", "again"]
    assert interrupted(process) == (0, "", "")


# What a line looks like


FIELDS = {"type": "message", "offset": 7, "author": "Ann", "body": "hello"}
SENT_AT = {"sent_at": "2026-01-02T03:04:05.678901+00:00"}


def test_a_line_has_offset_time_author_and_body(settings):
    assert line(FIELDS | SENT_AT) == "7\t2026-01-02T03:04:05+00:00\tAnn\thello"
    settings.TIME_ZONE = "Europe/Berlin"
    assert line(FIELDS | SENT_AT | {"guest": True}) == "7\t2026-01-02T04:04:05+01:00\tAnn (guest)\thello"


def test_what_is_only_live_has_no_offset():
    offset, time, author, body = line(FIELDS | {"offset": None, "sent_at": None}).split("\t")
    assert (offset, author, body) == ("-", "Ann", "hello")
    assert time.endswith("+00:00")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines", r"two\nlines"),
        ("tab\there", r"tab\there"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\u202egnp", r"\u202egnp"),
        ("naïve 日本 👩\u200d💻", "naïve 日本 👩\u200d💻"),
    ],
)
def test_a_message_cannot_steer_the_terminal(text, shown):
    assert printable(text) == shown


# The reader that tail is built on


async def taken(frames, count: int) -> list[dict[str, object]]:
    async with asyncio.timeout(END_SECONDS):
        return [(await anext(frames)).fields for _ in range(count)]


@pytest.mark.django_db(transaction=True)
async def test_the_reader_replays_goes_on_and_ends_its_position():
    await asend_many([str(number) for number in range(1, 251)])
    async with aclosing(messages("broadcast", after=3)) as frames:
        assert [frame["offset"] for frame in await taken(frames, 247)] == list(range(4, 251))
        waiting = asyncio.create_task(anext(frames))
        await asend_many(["live", "and more"])
        async with asyncio.timeout(END_SECONDS):
            assert (await waiting).fields["body"] == "live"
        assert (await taken(frames, 1))[0]["offset"] == 252
        stream = this_process.node().hub.streams["broadcast"]
        assert len(stream.positions) == 1
    assert not stream.positions


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", ["heads", "read"])
async def test_the_reader_waits_for_a_log_that_is_away(monkeypatch, settings, step):
    settings.BROADCAST = {"POLL_INTERVAL": 0.01}
    await asend_many(["one"])
    sound, tries = getattr(this_process.log, step), []

    def away_at_first(*args):
        tries.append(args)
        if len(tries) == 1:
            raise LogUnavailable("away")
        return sound(*args)

    monkeypatch.setattr(this_process.log, step, away_at_first)
    async with aclosing(messages("broadcast", after=0)) as frames:
        assert [frame["body"] for frame in await taken(frames, 1)] == ["one"]
    assert len(tries) > 1


async def test_the_reader_follows_live_where_there_is_no_log():
    async with aclosing(messages("broadcast", after=5)) as frames:
        (reset,) = await taken(frames, 1)
        assert (reset["type"], reset["offset"]) == ("reset", None)
        waiting = asyncio.create_task(anext(frames))
        await asend_many(["live"])
        async with asyncio.timeout(END_SECONDS):
            assert (await waiting).fields["body"] == "live"
