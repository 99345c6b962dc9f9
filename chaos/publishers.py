"""Publishers: each sends numbered messages one act after the other, and notes what it was told became of them."""

import asyncio
import json
import os
import signal
import sys
import uuid
from abc import ABC, abstractmethod
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from random import Random
from urllib.parse import quote

from chaos import GROUPS, text_of
from chaos.fleet import Fleet, Server
from chaos.ledger import NOT_SENT, SENT, UNKNOWN, Ledger
from chaos.readers import Reader
from chaos.tutorial_readers import TutorialReader
from tests.site import ROOT

REQUEST_TIMEOUT = 20.0
ANSWER_TIMEOUT = 60.0  # of a script, which may be paused and may insist
LETTER_TIMEOUT = 15.0  # as in the page's outbox.js
SAYS_NOT_SENT = "was not sent"

SINGLE = {"alone", "insisted", "patient", "impatient"}
# What views do, and how often; scripts do more.
VIEW_ACTS = {"alone": 25, "together": 35, "insisted": 8, "committed": 18, "partly": 8, "undone": 6}
SCRIPT_ACTS = VIEW_ACTS | {"manual": 6, "dies": 2, "dies_committed": 2}
BURST = 150  # messages: more than one hint carries
MADE_UP = 10.0  # seconds

Outcomes = dict[str, str]


class Lane(ABC):
    """One publisher: what it sends is in order, for it waits for each act to end."""

    acts: dict[str, int] = {}
    groups: tuple[str, ...] = GROUPS

    def __init__(self, name: str, seed: str, rate: float, ledger: Ledger) -> None:
        self.name = name
        self.random = Random(f"{seed}:{name}")
        self.rate = rate
        self.ledger = ledger
        self._number = 0
        self._loop = asyncio.get_running_loop()

    async def run(self, stopping: asyncio.Event) -> None:
        due = self._loop.time() + self.random.random()
        while not stopping.is_set():
            late = self._loop.time() - due
            act = self.random.choices(list(self.acts), list(self.acts.values()))[0]
            outcomes = await self.once(act, self.random.choice(self.groups), late)
            due = max(due + len(outcomes) / self.rate, self._loop.time() - MADE_UP)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await stopping.wait()
        await self.end()

    async def once(self, act: str, group: str, late: float = 0.0) -> Outcomes:
        """Does one act and enters into the ledger what it is told."""
        keys = self.keys(act, late)
        self.ledger.begin(keys, group, act, self._loop.time())
        outcomes, reason = await self.perform(act, group, keys)
        self.ledger.settle(outcomes, reason, self._loop.time())
        return outcomes

    def keys(self, act: str, late: float) -> list[str]:
        """The keys of the next messages: more where an outage kept it from sending for some seconds."""
        count = 1
        if act not in SINGLE:
            count = min(BURST, self.random.randint(2, 16) + int(max(0.0, late) * self.rate))
        first, self._number = self._number + 1, self._number + count
        return [f"{self.name}-{number:06}" for number in range(first, first + count)]

    @abstractmethod
    async def perform(self, act: str, group: str, keys: list[str]) -> tuple[Outcomes, str]:
        """Does one act; returns what became of each message, and why."""

    async def end(self) -> None:  # noqa: B027  (most hold nothing)
        """Lets go of what it holds."""


class Lost(Exception):
    """A request to which no whole answer came."""


async def request(port: int, head: str, body: bytes = b"") -> tuple[int, bytes]:
    """Sends one HTTP request and returns status and body. Raises ConnectionRefusedError if nobody listens."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = [f"{head} HTTP/1.0", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(body)}", "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        answer, _, content = (await reader.read()).partition(b"\r\n\r\n")
        length = next((line[15:] for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length:")), b"")
        if not length or int(length) != len(content):
            raise Lost("no whole answer")
        return int(answer.split(b" ", 2)[1]), content
    finally:
        writer.close()


class WebLane(Lane):
    """Asks views of any of some servers."""

    def __init__(self, name: str, seed: str, rate: float, ledger: Ledger, servers: list[Server]) -> None:
        super().__init__(name, seed, rate, ledger)
        self.servers = servers

    async def perform(self, act: str, group: str, keys: list[str]) -> tuple[Outcomes, str]:
        port = self.random.choice(self.servers).port
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                return await self.ask(port, act, group, keys)
        except ConnectionRefusedError:
            return dict.fromkeys(keys, NOT_SENT), "refused"
        except (OSError, Lost, TimeoutError) as error:
            return dict.fromkeys(keys, UNKNOWN), repr(error)

    async def ask(self, port: int, act: str, group: str, keys: list[str]) -> tuple[Outcomes, str]:
        asked = json.dumps({"act": act, "group": group, "keys": keys}).encode()
        status, answer = await request(port, "POST /chaos/act", asked)
        if status != 200:
            raise Lost(f"status {status}")
        return json.loads(answer), f"by {port}"


class ViewLane(WebLane):
    acts = VIEW_ACTS


class AnnounceLane(WebLane):
    """Types messages behind the address of the app's own view."""

    acts = {"alone": 1}
    groups = GROUPS[:1]

    async def ask(self, port: int, act: str, group: str, keys: list[str]) -> tuple[Outcomes, str]:
        status, answer = await request(port, f"GET /broadcast/{quote(text_of(keys[0]))}")
        text = answer.decode()
        if status == 200:
            return {keys[0]: SENT}, f"by {port}"
        if status != 503:
            raise Lost(f"status {status}")
        return {keys[0]: UNKNOWN if "may or may not" in text else NOT_SENT}, text


class ScriptLane(Lane):
    """A plain process that uses the app without serving anything; it is started anew when it has died."""

    acts = SCRIPT_ACTS

    def __init__(self, name: str, seed: str, rate: float, ledger: Ledger, fleet: Fleet, **env: str) -> None:
        super().__init__(name, seed, rate, ledger)
        self.fleet = fleet
        self.env = env
        self.process: Process | None = None

    async def perform(self, act: str, group: str, keys: list[str]) -> tuple[Outcomes, str]:
        asked = json.dumps({"act": act, "group": group, "keys": keys}) + "\n"
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await self._answer(asked.encode(), act, keys)
        except TimeoutError:
            self.ledger.surprise(f"{self.name} did not answer within {ANSWER_TIMEOUT:g} s: {act} {keys[0]}")
            await self.end()
            return dict.fromkeys(keys, UNKNOWN), "no answer"

    async def _answer(self, asked: bytes, act: str, keys: list[str]) -> tuple[Outcomes, str]:
        process = await self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(asked)
            await process.stdin.drain()
        except ConnectionError:
            pass  # it was killed: there is nothing more to read either
        line = await process.stdout.readline()
        if line == b"committed\n":
            outcome = dict.fromkeys(keys, SENT), "died after its COMMIT"
            line = await process.stdout.readline()
        else:
            outcome = dict.fromkeys(keys, NOT_SENT if act in ("dies", "undone") else UNKNOWN), "died"
        if line.endswith(b"\n"):
            return json.loads(line), "by a script"
        await self.end()
        return outcome

    # What the world does to it

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        """Signals past asyncio, whose own way would take the exit status from whoever waits for it."""
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    async def _running(self) -> Process:
        if self.process is None:
            env = {**self.fleet.env, **self.env, "CHAOS_SEED": f"{self.fleet.env['CHAOS_SEED']}:{self.name}"}
            with (self.fleet.directory / f"{self.name}.log").open("ab") as log:
                self.process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "chaos.script"),
                    cwd=ROOT,
                    env=env,
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=log,
                )
        return self.process

    async def end(self) -> None:
        self.kill()
        process, self.process = self.process, None
        if process is not None:
            await process.communicate()


class LetterLane(Lane):
    """A reader that also writes, as a visitor of the chat page does: with a ref, until the answer comes.

    An impatient one believes the first error that says that its message was not sent.
    """

    acts = {"patient": 3, "impatient": 1}

    def __init__(self, name: str, seed: str, rate: float, ledger: Ledger, reader: Reader) -> None:
        super().__init__(name, seed, rate, ledger)
        self.reader = reader

    async def perform(self, act: str, group: str, keys: list[str]) -> tuple[Outcomes, str]:
        letters, ref = self.reader.letters, str(uuid.UUID(int=self.random.getrandbits(128)))
        frame = {"body": text_of(keys[0]), "group": group, "author": self.name, "ref": ref}
        letters.hand_over(ref)
        tries = 0
        while True:
            if GROUPS.index(group) in self.reader.welcomed and self.reader.socket is not None:
                self.reader.say(frame)
                tries += 1
            try:
                async with asyncio.timeout(LETTER_TIMEOUT):
                    await letters.changed.wait()
            except TimeoutError:
                continue
            letters.changed.clear()
            if letters.is_delivered:
                return {keys[0]: SENT}, f"acknowledged to {self.reader.name}"
            if letters.refusal is not None:
                text, after = letters.refusal["body"], letters.refusal.get("retry_after_ms", 1000) / 1000
                if act == "impatient" and tries == 1 and SAYS_NOT_SENT in text:
                    letters.hand_over("")
                    return {keys[0]: NOT_SENT}, text
                letters.refusal = None
                await asyncio.sleep(after)


class TutorialLetterLane(Lane):
    """A reader of the tutorial's page that writes. Nobody tells it whether its message was sent."""

    acts = {"alone": 1}

    def __init__(self, name: str, seed: str, rate: float, ledger: Ledger, reader: TutorialReader) -> None:
        super().__init__(name, seed, rate, ledger)
        self.reader = reader

    async def perform(self, act: str, group: str, keys: list[str]) -> tuple[Outcomes, str]:
        self.reader.say({"room": group, "message": text_of(keys[0])})
        return dict.fromkeys(keys, UNKNOWN), "nobody answers"
