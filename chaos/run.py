"""The direction of a run: who comes on when, and what is told at the end."""

import asyncio
import time
from collections.abc import Callable, Sequence

from chaos import GROUPS
from chaos.check import Row, delivered, judge, losses, read_log
from chaos.clients import Client
from chaos.faults import Faults
from chaos.fleet import Fleet, World
from chaos.hints import DEAF_AFTER, hint_delays
from chaos.ledger import SENT, Ledger
from chaos.publishers import (
    AnnounceLane,
    Lane,
    LetterLane,
    ScriptLane,
    TutorialLetterLane,
    ViewLane,
)
from chaos.readers import Book, Reader
from chaos.tally import counted
from chaos.tutorial_readers import TutorialBook, TutorialReader

START_TIMEOUT = 60.0
SETTLE_TIMEOUT = 90.0
QUIET = 3.0  # seconds
WRITERS = 5  # one reader in so many also writes
LATECOMERS = 6  # one client in so many comes when the run is under way
LETTERS = 0.4  # messages a second, each
ANNOUNCED = 3.0  # messages a second


class Run:
    """One run in a world, on a fleet that has been started."""

    def __init__(self, world: World, fleet: Fleet) -> None:
        self.world = world
        self.fleet = fleet
        self.ledger = Ledger()
        self.stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _, context: self.ledger.surprise(repr(context)))
        self._journal = (fleet.directory / "faults.log").open("w")
        self.clients: Sequence[Client] = self._clients()
        self.lanes = self._lanes()
        scripts = [lane for lane in self.lanes if isinstance(lane, ScriptLane)]
        self.faults = Faults(world, fleet, list(self.clients), scripts, self.log)

    def log(self, text: str) -> None:
        print(f"{self._loop.time():.3f} {text}", file=self._journal, flush=True)

    def _clients(self) -> Sequence[Client]:
        ports, numbers = [server.port for server in self.fleet.daphnes], range(self.world.clients)
        if self.world.is_tutorial:
            self.tutorial_book = TutorialBook()
            return [TutorialReader(number, ports, self.world.seed, self.tutorial_book) for number in numbers]
        self.book = Book()
        return [Reader(number, ports, self.world.seed, self.book) for number in numbers]

    def _lanes(self) -> list[Lane]:
        seed, ledger, daphnes, wsgi = self.world.seed, self.ledger, self.fleet.daphnes, [self.fleet.wsgi]
        lanes: list[Lane] = []
        for client in self.clients[::WRITERS]:
            if isinstance(client, Reader):
                lanes.append(LetterLane(f"letter{client.name}", seed, LETTERS, ledger, client))
            elif isinstance(client, TutorialReader):
                lanes.append(TutorialLetterLane(f"letter{client.name}", seed, LETTERS, ledger, client))
        if not self.world.is_tutorial:
            lanes.append(AnnounceLane("address", seed, ANNOUNCED, ledger, [*daphnes, *wsgi]))
        rate = max(1.0, self.world.rate - ANNOUNCED - LETTERS * len(lanes)) / 6
        lanes += [ViewLane(f"daphne{number}", seed, rate, ledger, daphnes) for number in (1, 2)]
        lanes += [ViewLane(f"wsgi{number}", seed, rate, ledger, wsgi) for number in (1, 2)]
        lanes.append(ScriptLane("script1", seed, rate, ledger, self.fleet))
        lanes.append(self._script_alone("script2", rate))
        return lanes

    def _script_alone(self, name: str, rate: float) -> Lane:
        """A script that shares only the database with the servers. The tutorial's publishers need the layer."""
        env = {} if self.world.is_tutorial else {"REDIS_URL": ""}
        return ScriptLane(name, self.world.seed, rate, self.ledger, self.fleet, **env)

    async def play(self) -> bool:
        """Plays the run and prints what came of it; whether nobody has anything to complain about."""
        late, early = self.clients[::LATECOMERS], [c for n, c in enumerate(self.clients) if n % LATECOMERS]
        comings = [asyncio.create_task(client.run()) for client in early]
        try:
            if not await until(lambda: all(client.has_begun for client in early), START_TIMEOUT):
                raise AssertionError(f"Not every client was welcomed within {START_TIMEOUT:g} s")
            comings += [asyncio.create_task(self._come_late(client)) for client in late]
            await self._chaos()
            await self._settle()
            for task in comings:
                if task.done():
                    task.result()  # raises what ended it
            return await (self._tell_tutorial() if self.world.is_tutorial else self._tell())
        finally:
            for task in comings:
                task.cancel()
            await asyncio.gather(*comings, return_exceptions=True)
            self._write_logs()
            self._journal.close()

    async def _come_late(self, client: Client) -> None:
        await asyncio.sleep(client.random.uniform(0, self.world.seconds / 2))
        await client.run()

    async def _chaos(self) -> None:
        ends_at = self._loop.time() + self.world.seconds
        publishing = [asyncio.create_task(lane.run(self.stopping)) for lane in self.lanes]
        try:
            await self.faults.run()
            await asyncio.sleep(max(0.0, ends_at - self._loop.time()))
            self.log("publishers stop")
            self.stopping.set()
            self._wake()
            _, hanging = await asyncio.wait(publishing, timeout=SETTLE_TIMEOUT)
            for lane, task in zip(self.lanes, publishing, strict=True):
                if task in hanging:
                    self.ledger.surprise(f"{lane.name} is not done {SETTLE_TIMEOUT:g} s after the last fault")
        finally:
            for task in publishing:
                task.cancel()
            ended = await asyncio.gather(*publishing, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _settle(self) -> None:
        """Waits until all is healed and everybody has got everything."""
        if self.world.is_tutorial:
            received = -1
            while received != self.tutorial_book.received:
                received = self.tutorial_book.received
                await asyncio.sleep(QUIET)
            return
        self.settled_after = await self._last_words()
        lane = ViewLane("probe", self.world.seed, 1.0, self.ledger, [self.fleet.wsgi])
        self.hint_delays = await hint_delays(lane, self._readers())
        for port, delay in self.hint_delays.items():
            if delay > DEAF_AFTER:
                self.ledger.surprise(f"The server on port {port} hears of messages {delay:.2f} s late, by polling")
        await self._last_words()

    async def _last_words(self) -> float:
        """Sends a message to each group, of which no hint tells; the seconds until every client has seen it."""
        lane = self._script_alone(f"end{len(self.ledger.entries)}", 1.0)
        for group in GROUPS:
            if SENT not in (await lane.once("insisted", group)).values():
                self.ledger.surprise(f"The last message to {group} was not sent")
        await lane.end()
        begun = self._loop.time()
        heads, _ = await self._log()
        await until(lambda: self._are_at(heads), SETTLE_TIMEOUT, self._wake)
        self.log("settled")
        return self._loop.time() - begun

    def _readers(self) -> list[Reader]:
        return [client for client in self.clients if isinstance(client, Reader)]

    def _are_at(self, heads: dict[str, int]) -> bool:
        return all(
            reader.positions[group] >= heads[GROUPS[group]] for reader in self._readers() for group in reader.groups
        )

    def _wake(self) -> None:
        for client in self.clients:
            client.wake()

    async def _log(self) -> tuple[dict[str, int], list[Row]]:
        return await asyncio.to_thread(read_log, self.fleet.postgres.database_url("chaos"))

    # What came of it

    async def _tell(self) -> bool:
        heads, rows = await self._log()
        readers = self._readers()
        verdict = judge(self.ledger, readers, self.book, heads, rows)
        self._tell_faults()
        print(f"In the log: {len(rows):,} messages in {len(heads)} groups. {self._outcomes()}")
        print(
            f"Checked: {delivered(readers):,} deliveries ({len(rows):,} messages to {len(readers)} clients), "
            f"over {sum(reader.visits for reader in readers):,} connections. "
            f"Everybody was at the head {self.settled_after:.1f} s after the last message"
        )
        delays = ", ".join(f"{delay * 1000:.0f}" for delay in self.hint_delays.values())
        print(f"Healed: a message reaches the servers after {delays} ms (median each, by hint)")
        counts = verdict.counts
        print(f"Missing {counts['missing']}, doubled or out of order {counts['doubled']}, violations {counts.total()}")
        for line in verdict.lines():
            print(f"  {line}")
        return not verdict.counts

    async def _tell_tutorial(self) -> bool:
        lost = losses(self.ledger, [client for client in self.clients if isinstance(client, TutorialReader)])
        self._tell_faults()
        print(f"The tutorial's consumer, its hints left alone. {self._outcomes()}")
        print(
            f"Expected: {lost.expected:,} deliveries. Missing {lost.missing:,} "
            f"({lost.missing / max(1, lost.expected):.1%}), {lost.missing_connected:,} of them to clients that were "
            f"connected all the while; doubled {lost.doubled:,}, out of order {lost.disordered:,}. "
            f"{lost.losers} of {len(self.clients)} clients missed something"
        )
        return True

    def _tell_faults(self) -> None:
        injected, inside = self.faults.injected, counted(self.fleet.tally)
        print(f"Faults injected: {injected.total()}, and {inside.total()} inside of processes")
        for kind, count in (*sorted(injected.items()), *sorted(inside.items())):
            print(f"  {count:>6} {kind}")

    def _outcomes(self) -> str:
        return "Publishers know of " + ", ".join(f"{n:,} {outcome}" for outcome, n in self.ledger.counts().items())

    def _write_logs(self) -> None:
        with (self.fleet.directory / "clients.log").open("w") as file:
            for client in self.clients:
                print(f"--- {client.name} {dict(client.mistakes)}", *client.events, sep="\n", file=file)
        with (self.fleet.directory / "messages.log").open("w") as file:
            for key, entry in self.ledger.entries.items():
                print(f"{key} {entry}", file=file)


async def until(condition: Callable[[], bool], seconds: float, meanwhile: Callable[[], None] | None = None) -> bool:
    """Waits until the condition holds; false if it does not in time."""
    deadline, wakes_at = time.monotonic() + seconds, 0.0
    while not condition():
        if time.monotonic() > deadline:
            return False
        if meanwhile is not None and time.monotonic() > wakes_at:
            meanwhile()
            wakes_at = time.monotonic() + 1
        await asyncio.sleep(0.05)
    return True
