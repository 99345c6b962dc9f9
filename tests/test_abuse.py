"""What abuse finds: in runs made up for its judge, and in a short one. `make abuse` plays a long one."""

import socket
import subprocess
import sys
from collections.abc import Callable
from unittest.mock import Mock

import pytest

from abuse.attacks import ATTACKS
from abuse.attempt import Attempt, Tally
from abuse.frames import CLOSE, frame
from abuse.honest import Client, Watch
from abuse.house import Rows, is_failure
from abuse.report import verdict
from abuse.run import Run, Wave
from tests.site import ROOT

SECONDS = 5
END_TIMEOUT = 120
ATTACKED = (
    *("ping flood", "empty pieces", "refused text flood", "resets in a frame", "invalid UTF-8", "odd groups"),
    *("odd requests", "ever new rooms by HTTP", "histories in a row not read"),
)


class Trial:
    """A run made up, in which all is well."""

    def __init__(self) -> None:
        self.watch = Watch()
        self.watch.latencies = [(0.0, 0.01)]
        self.log = "2026-01-01 INFO all is well\n"
        self.tally = Tally()
        self.tally.sent = 1
        self.groups = {"broadcast"}
        self.client = Client(1, 0, self.watch, {"hello": 0.0})
        self.client.epoch, self.client.offset = "one", 4

    def hears(self, offset: int, body: str = "hello") -> None:
        self.client._hear_message({"ref": "", "offset": offset, "body": body})

    def complaints(self) -> list[str]:
        run = Run(Mock(), Mock(), Rows({}, set()), waves=[Wave(0, 1, {"ping flood": self.tally.told()}, 0)])
        run.log = Mock(failures=list(filter(is_failure, self.log.splitlines())))
        run.crowd = Mock(watch=self.watch)
        return verdict(run, Rows({}, self.groups))


def all_is_well(trial: Trial) -> None:
    trial.hears(5)
    trial.log += "2026-01-01 ERROR   django.security.DisallowedHost: Invalid HTTP_HOST header\n"


def lost(trial: Trial) -> None:
    trial.hears(6)


def lost_for_good(trial: Trial) -> None:
    trial.client._hear_reset({"epoch": "two", "offset": 0})


def doubled(trial: Trial) -> None:
    trial.hears(5)
    trial.hears(5)


def doubled_further_on(trial: Trial) -> None:
    trial.hears(5)
    trial.hears(6)


def said_too_much(trial: Trial) -> None:
    trial.tally.find(b'{"body":"no such table: broadcast_message"}')


def failed(trial: Trial) -> None:
    trial.tally.ends["500"] = 1


def logged(trial: Trial) -> None:
    trial.log += "Traceback (most recent call last):\n"


def wrote_by_reading(trial: Trial) -> None:
    trial.groups.add("room.h1")


def sent_nothing(trial: Trial) -> None:
    trial.tally.sent = 0


@pytest.mark.parametrize(
    ("what_happens", "expected"),
    [
        (all_is_well, ""),
        (lost, "honest: 1 lost"),
        (lost_for_good, "honest: 1 lost"),
        (doubled, "honest: 1 doubled"),
        (doubled_further_on, "honest: 1 doubled"),
        (said_too_much, "ping flood was told"),
        (failed, "ping flood was answered 500"),
        (logged, "the log says: Traceback"),
        (wrote_by_reading, "made by reading: the group room.h1"),
        (sent_nothing, "a wave sent nothing"),
    ],
)
async def test_the_judge_notices(what_happens: Callable[[Trial], None], expected: str) -> None:
    trial = Trial()
    what_happens(trial)
    found = trial.complaints()
    assert found[0].startswith(expected) if expected else not found


def test_an_attempt_knows_how_it_ended() -> None:
    tally = Tally()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        attempt = Attempt(ours, ATTACKS["ping flood"], tally, b"hello", b"xy", 1)
        for data in (b"HTTP/1.1 101 Switching", b" Protocols\r\n\r\n", frame(b"{}", mask=None)):
            theirs.sendall(data)
            attempt.read()
        assert not attempt.is_over
        theirs.sendall(frame((4502).to_bytes(2) + b"too much", CLOSE, mask=None))
        attempt.read()
    assert attempt.is_over
    assert tally.ends == {"4502": 1}


def test_honest_clients_notice_nothing() -> None:
    times = (f"--seconds={SECONDS}", "--quiet=1", "--outage=1")
    world = ("--seed=1", *times, "--at-once=9", f"--attacks={','.join(ATTACKED)}")
    command = [sys.executable, "-W", "error", "-m", "abuse", *world]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=END_TIMEOUT)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
