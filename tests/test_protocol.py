"""docs/protocol.md, played against the running code frame by frame."""

import dataclasses
import json
import re
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from broadcast import asend, asend_many, consumers
from broadcast.access import revalidation
from broadcast.consumers import BroadcastConsumer
from broadcast.engine.frames import STALLED
from broadcast.engine.process import this_process
from broadcast.engine.system import System
from tests.kit.log import unreachable_database
from tests.site import ROOT
from tests.tabs import OPEN, WAIT, Browser

DOCS = (ROOT / "docs" / "protocol.md").read_text()
EXAMPLES = re.findall(r"^```text\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
EPOCHS = ["xJ3dR0v8Kq1a", "Zp7mT2c9Wn4e"]

COMES, LEAVES, DEACTIVATED = "ann of the staff comes", "ann leaves the staff", "ann is deactivated"
NO_LOG, AWAY, DELETED = "there is no log", "the database goes away", "the group's log is deleted in the admin"
DOES = {"send": asend, "send_many": asend_many}


@pytest.fixture(autouse=True)
def the_site_of_the_page(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {"broadcast": OPEN, "news": OPEN, "staff": {"subscribe": "staff"}}
    settings.BROADCAST = {"GROUPS": groups, "POLL_INTERVAL": 0.05}
    monkeypatch.setattr(revalidation, "PASS_SECONDS", 0.05)


@pytest.fixture
def database(example: str) -> Iterator[None]:
    """As the example says of the database."""
    with unreachable_database() if AWAY in example else nullcontext():
        yield


def marked(example: str) -> Any:
    """The example as a test's parameter, with a database if it has a log."""
    return pytest.param(example, marks=[] if NO_LOG in example else [pytest.mark.django_db(transaction=True)])


class Play:
    """One example: its lines in order, and the connection that they are about."""

    def __init__(self) -> None:
        self.epochs = EPOCHS[:1]  # the page's first, and its second once the first is given up
        self.browser: Any = None
        self.known_refs: set[str] = set()
        self.user: User | None = None

    async def site(self, what: str) -> None:
        if what == DELETED:
            self.epochs.append(EPOCHS[1])
            await sync_to_async(this_process.pruning.erase)("broadcast")
        elif what == COMES:
            self.user = await User.objects.acreate(username="ann", is_staff=True)
        elif what == LEAVES:
            await User.objects.aupdate(is_staff=False)
        elif what == DEACTIVATED:
            await User.objects.aupdate(is_active=False)
        elif what not in (NO_LOG, AWAY):
            call = re.fullmatch(r"(\w+)\((.*)\)", what)
            assert call
            body, _, data = call[2].partition(", data=")
            await DOES[call[1]](json.loads(body), **({"data": json.loads(data)} if data else {}))

    async def open(self, address: str) -> None:
        path, _, subprotocol = address.partition(" ")
        self.browser = Browser(BroadcastConsumer.as_asgi(), path, subprotocols=[subprotocol], user=self.user)
        await self.browser.open()
        assert self.browser.subprotocol == (subprotocol or None)

    async def says(self, text: str) -> None:
        self.known_refs.add(json.loads(text).get("ref", ""))
        await self.browser.line.send_to(text_data=text)

    async def hears(self, text: str) -> None:
        heard = await self.browser.line.receive_from(WAIT)
        assert self.comparable(heard) == self.comparable(text)

    def comparable(self, text: str) -> str:
        """The frame, with a mark in place of what differs from one run to the next."""
        text = re.sub(r'"sent_at":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"', '"sent_at":"<time>"', text)
        if '"code":4004' in text:
            text = re.sub(r'"after_ms":\d+', '"after_ms":<a moment>', text)
        ref = re.search(r'"ref":"([0-9a-f-]{36})"', text)
        return text.replace(ref[1], "<made by the server>") if ref and ref[1] not in self.known_refs else text

    async def close(self, code: str) -> None:
        await self.browser.is_closed(int(code))


@pytest.mark.parametrize("example", [marked(example) for example in EXAMPLES], ids=range(len(EXAMPLES)))
async def test_the_examples_are_true(example, database, settings, monkeypatch):
    play = Play()
    system = System(token=lambda: play.epochs[-1])
    if "rate_limited" in example:
        settings.BROADCAST = {**settings.BROADCAST, "MESSAGE_BURST": 1}
        system = dataclasses.replace(system, monotonic=lambda: 0.0)
    monkeypatch.setattr(this_process, "system", system)
    this_process.reset()
    does = {"site": play.site, "open": play.open, "->": play.says, "<-": play.hears, "close": play.close}
    for text in example.splitlines():
        word, _, rest = text.partition(" ")
        await does[word](rest)
    await play.browser.leave()


def test_there_are_examples_of_every_frame():
    examples = "\n".join(EXAMPLES)
    for kind in ("welcome", "message", "reset", "error", "pong", "bye"):
        assert f'<- {{"type":"{kind}"' in examples
    for kind in ("subscribe", "unsubscribe", "ping"):
        assert f'-> {{"type": "{kind}"' in examples


def test_every_code_is_listed():
    codes = set(re.findall(r"^\| `(\w+)` \| .*\| .*\|$", DOCS.partition("## Errors")[2], re.MULTILINE))
    assert codes == {"invalid", "too_large", "forbidden", "rate_limited", "unavailable"}
    closing = {int(code) for code in re.findall(r"^\| (4\d{3}) \|", DOCS, re.MULTILINE)}
    come_back = {consumers.RESTARTING, STALLED, consumers.UNAVAILABLE, consumers.USER_CHANGED}
    come_back.add(consumers.TOO_MANY_CONNECTIONS)
    assert closing == come_back | {consumers.FORBIDDEN, consumers.TOO_MANY_BAD_FRAMES, consumers.FLOODING}
