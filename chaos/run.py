"""The direction of a run: who comes on when, and what is told at the end."""

import asyncio
from collections.abc import Sequence

from chaos import GROUPS
from chaos.book import Book
from chaos.clients import Client
from chaos.faults.injector import Faults
from chaos.faults.wards import Wards
from chaos.fleet import Fleet, World
from chaos.judge.archive import Now, read_archive, read_groups, read_offsets
from chaos.judge.court import Case
from chaos.judge.hints import DEAF_AFTER, hint_delays
from chaos.judge.watch import Watch, clock_offset
from chaos.lanes.lane import Lane
from chaos.lanes.letter import LetterLane, TutorialLetterLane
from chaos.lanes.script import ScriptLane
from chaos.lanes.web import AnnounceLane, ViewLane
from chaos.ledger import SENT, Ledger
from chaos.pages import Page, keep_reading, opened
from chaos.readers import Reader
from chaos.tutorial_readers import TutorialBook, TutorialReader
from chaos.waiting import until

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
        self.book = Book(self.ledger)
        self.tutorial_book = TutorialBook()
        self.settled_after = 0.0
        self.hint_delays: dict[int, float] = {}
        self._ahead = clock_offset(self._loop.time)
        self.watch = Watch(fleet.database_url, self._loop.time)
        self._journal = (fleet.directory / "faults.log").open("w")
        self.clients: Sequence[Client] = self._clients()
        self.lanes = self._lanes()
        scripts = [lane for lane in self.lanes if isinstance(lane, ScriptLane)]
        self.pages: list[Page] = []
        self.wards = Wards(self.book, self.readers())
        self.faults = Faults(
            world,
            fleet,
            self.clients,
            scripts,
            self.wards,
            self.ledger,
            self.watch.conditions,
            self.log,
        )

    def log(self, text: str) -> None:
        print(f"{self._loop.time():.3f} {text}", file=self._journal, flush=True)

    def _clients(self) -> Sequence[Client]:
        ports, numbers = [server.port for server in self.fleet.daphnes], range(self.world.clients)
        if self.world.is_tutorial:
            return [TutorialReader(number, ports, self.world.seed, self.tutorial_book) for number in numbers]
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

    async def play(self) -> None:
        """Plays the run to its end, when all is healed and everybody has got everything."""
        late, early = self.clients[::LATECOMERS], [c for n, c in enumerate(self.clients) if n % LATECOMERS]
        comings = [asyncio.create_task(client.run()) for client in early]
        watching = asyncio.create_task(self.watch.run())
        try:
            if not await until(lambda: all(client.has_begun for client in early), START_TIMEOUT):
                raise AssertionError(f"Not every client was welcomed within {START_TIMEOUT:g} s")
            comings += [asyncio.create_task(self._come_late(client)) for client in late]
            async with opened(self.world.pages, [server.port for server in self.fleet.daphnes]) as self.pages:
                self.wards.all += self.pages
                reading = asyncio.create_task(keep_reading(self.pages))
                try:
                    await self._chaos()
                    await self._settle()
                finally:
                    reading.cancel()
                    await asyncio.wait([reading])
            if not reading.cancelled():
                reading.result()  # raises what ended it
            for task in (*comings, watching):
                if task.done():
                    task.result()  # raises what ended it
        finally:
            for task in (*comings, watching):
                task.cancel()
            await asyncio.gather(*comings, watching, return_exceptions=True)
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
        self.hint_delays = await hint_delays(lane, self.readers())
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
        now = await asyncio.to_thread(read_groups, self.fleet.database_url)
        await until(lambda: self._are_at(now), SETTLE_TIMEOUT, self._wake)
        self.log("settled")
        return self._loop.time() - begun

    def readers(self) -> list[Reader]:
        return [client for client in self.clients if isinstance(client, Reader)]

    def _are_at(self, now: dict[str, Now]) -> bool:
        return all(
            (reader.epochs.get(group), reader.positions[group]) == now[GROUPS[group]][:2]
            for reader in self.readers()
            for group in reader.groups
        ) and all(page.places.get(name) == group[:2] for page in self.pages for name, group in now.items())

    def _wake(self) -> None:
        for client in self.clients:
            client.wake()

    def case(self) -> Case:
        """All that is known of the run, for the judge."""
        url = self.fleet.database_url
        return Case(
            self.ledger,
            self.readers(),
            self.book,
            read_archive(url),
            read_groups(url),
            read_offsets(url),
            self.watch.conditions,
            self._ahead,
            self.faults.troubles,
            self.pages,
        )
