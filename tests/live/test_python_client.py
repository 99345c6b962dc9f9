"""docs/client.py, which knows nothing but docs/protocol.md, against a real server that is killed and comes back."""

import asyncio
import importlib.util
import json
import random
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from types import ModuleType
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.kit.clients import WAIT
from tests.site import ROOT, Daphne, Site

PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
OPEN = {"subscribe": "anyone", "publish": "anyone", "announce": "anyone"}


@pytest.fixture
def module() -> ModuleType:
    """The client as a reader would have it, with shorter waits between its tries."""
    spec = importlib.util.spec_from_file_location("client", ROOT / "docs" / "client.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.random = Waits()
    return module


class Waits:
    """Chance as the client asks it how long to wait, which here is not long."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, float]] = []
        self.seventh = asyncio.Event()

    def uniform(self, low: float, high: float) -> float:
        self.asked.append((low, high))
        if len(self.asked) == 7:
            self.seventh.set()
        return random.uniform(0, 0.3)


@pytest.fixture
def server(daphne: Callable[..., Daphne]) -> Daphne:
    rules = {"broadcast": OPEN, "news": OPEN, "elsewhere": OPEN, "staff": {"subscribe": "staff"}}
    return daphne(DJANGO_SETTINGS_MODULE="tests.live.host_settings", BROADCAST=json.dumps({"GROUPS": rules}))


class Reader:
    """What a client hears, one frame after another."""

    def __init__(self, frames: AsyncIterator[Any]) -> None:
        self.frames = frames

    async def hear(self) -> Any:
        return await asyncio.wait_for(anext(self.frames), WAIT)

    async def hear_until(self, *bodies: str) -> list[tuple[str, int, str]]:
        """All messages up to the last of ``bodies`` to come: their groups, offsets and texts."""
        heard: list[tuple[str, int, str]] = []
        while not set(bodies) <= {body for _, _, body in heard}:
            frame = await self.hear()
            if frame["type"] == "message":
                heard.append((frame["group"], frame["offset"], frame["body"]))
        return heard


@asynccontextmanager
async def reading(client: Any) -> AsyncIterator[Reader]:
    async with aclosing(client.frames()) as frames:
        yield Reader(frames)


def test_it_is_short():
    assert len((ROOT / "docs" / "client.py").read_text().splitlines()) <= 115


async def test_it_follows_groups_and_hears_what_became_of_what_it_says(module, server):
    client = module.Client(server.ws_url, "broadcast", "news", "staff")
    async with reading(client) as reader:
        first = [await reader.hear() for _ in range(3)]
        assert [(frame["type"], frame["group"]) for frame in first] == [
            ("welcome", "broadcast"),
            ("welcome", "news"),
            ("error", "staff"),
        ]
        assert first[2]["code"] == "forbidden"
        said = await asyncio.wait_for(client.send("news", "hi", author="Ann", data={"n": 1}), WAIT)
        assert (said["group"], said["offset"], said["author"], said["data"]) == ("news", 1, "Ann", {"n": 1})
        assert await reader.hear() == said
        elsewhere = await asyncio.wait_for(client.send("elsewhere", "hi"), WAIT)
        assert (elsewhere["group"], elsewhere["offset"]) == ("elsewhere", 1)
        for group, body, code in (
            ("news", "", "invalid"),
            ("broadcast", "x" * 5000, "too_large"),
            ("staff", "hi", "forbidden"),
        ):
            with pytest.raises(module.Refused) as refused:
                await asyncio.wait_for(client.send(group, body), WAIT)
            assert refused.value.args[1] == code
        large, small = client.send("news", "x" * 200_000), client.send("news", "hi")
        too_large, said = await asyncio.wait_for(asyncio.gather(large, small, return_exceptions=True), WAIT)
        assert (too_large.args[1], said["body"]) == ("too_large", "hi")


async def test_what_the_connection_is_closed_for_as_too_large_is_refused(module):
    """As other servers and proxies do it, which have limits of their own."""

    async def greet(socket: ServerConnection) -> None:
        await socket.recv()
        welcome = {"type": "welcome", "group": "news", "epoch": "e", "offset": 0, "user": None}
        await socket.send(json.dumps(welcome))
        async for text in socket:
            await socket.send(json.dumps({**json.loads(text), "type": "message", "offset": 1}))

    async with serve(greet, "127.0.0.1", 0, max_size=1000) as other:
        client = module.Client(f"ws://127.0.0.1:{other.sockets[0].getsockname()[1]}/ws", "news")
        async with reading(client) as reader:
            await reader.hear()
            with pytest.raises(module.Refused) as refused:
                await asyncio.wait_for(client.send("news", "x" * 1000), WAIT)
            assert refused.value.args[1] == "too_large"
            assert (await asyncio.wait_for(client.send("news", "hi"), WAIT))["offset"] == 1


async def test_what_is_not_answered_before_a_reset_is_said_again(module):
    async def skip(socket: ServerConnection) -> None:
        await socket.recv()
        place = {"group": "news", "epoch": "e", "offset": 0, "user": None}
        for kind in ("welcome", "reset", "message"):
            await socket.send(json.dumps({**place, "type": kind}))
            place |= json.loads(await socket.recv())

    async with serve(skip, "127.0.0.1", 0) as other:
        client = module.Client(f"ws://127.0.0.1:{other.sockets[0].getsockname()[1]}/ws", "news")
        async with reading(client) as reader:
            await reader.hear()
            assert (await asyncio.wait_for(client.send("news", "hi"), WAIT))["body"] == "hi"


async def test_who_may_follow_nothing_is_told_and_waits_for_nothing(module, server):
    client = module.Client(server.ws_url, "staff", "nowhere")
    async with reading(client) as reader:
        said = asyncio.create_task(client.send("broadcast", "hi"))
        assert {(await reader.hear())["group"] for _ in range(2)} == {"staff", "nowhere"}
        with pytest.raises(module.Refused) as over:
            await reader.hear()
    assert over.value.args[1] == "forbidden"
    with pytest.raises(module.Refused):
        await asyncio.wait_for(said, WAIT)
    with pytest.raises(module.Refused):
        await asyncio.wait_for(client.send("broadcast", "hi"), WAIT)


async def test_nothing_is_missed_and_nothing_doubled_while_servers_die(module, server: Daphne, site: Site):
    client = module.Client(server.ws_url, "broadcast", "news")
    async with reading(client) as reader:
        await reader.hear()
        await reader.hear()
        numbers = iter(range(1000))
        expected: dict[str, list[str]] = {"broadcast": [], "news": []}
        heard: list[tuple[str, int, str]] = []

        async def say(count: int) -> None:
            for _ in range(count):
                for group, bodies in expected.items():
                    bodies.append(f"{group} {next(numbers)}")
                    await asyncio.wait_for(client.send(group, bodies[-1], author="Ann"), WAIT)

        for end in (server.kill, server.stop):
            await say(3)
            await asyncio.to_thread(end)
            for group, bodies in expected.items():
                bodies.append(f"{group} while it was away {next(numbers)}")
                await asyncio.to_thread(site.manage, "broadcast", "send", bodies[-1], "--group", group)
            said = asyncio.create_task(say(3))
            await asyncio.to_thread(server.start)
            await asyncio.wait_for(said, WAIT)
            heard += await reader.hear_until(*(bodies[-1] for bodies in expected.values()))
    for group, bodies in expected.items():
        assert [entry for entry in heard if entry[0] == group] == [
            (group, offset, body) for offset, body in enumerate(bodies, 1)
        ]
    assert all(low == 0 for low, _ in module.random.asked)


async def test_it_waits_longer_and_longer_for_a_random_time(module, server):
    client = module.Client(server.ws_url, "broadcast")
    async with reading(client) as reader:
        await reader.hear()
        await asyncio.to_thread(server.kill)
        await asyncio.wait_for(module.random.seventh.wait(), WAIT)
        await asyncio.to_thread(server.start)
        assert (await reader.hear())["recovered"]
    assert [high for _, high in module.random.asked[:7]] == [1, 2, 4, 8, 16, 30, 30]


async def test_it_stays_away_when_it_is_sent_away_for_good(module, server):
    client = module.Client(server.ws_url, "broadcast")
    async with reading(client) as reader:
        await reader.hear()
        for _ in range(20):
            with pytest.raises(module.Refused):
                await asyncio.wait_for(client.send("broadcast", ""), WAIT)
        with pytest.raises(module.Refused) as away:
            await reader.hear()
    assert away.value.args == ("20 frames in a row were not acceptable.", 4501)
    async with reading(module.Client(f"{server.ws_url}nowhere", "broadcast")) as reader:
        with pytest.raises(module.Refused) as away:
            await reader.hear()
    assert away.value.args[1] == 403


async def test_the_example_of_the_page(module, server, monkeypatch):
    (example,) = re.findall(r"^```python\n(from client import .*?)^```$", PROTOCOL, re.MULTILINE | re.DOTALL)
    monkeypatch.setitem(sys.modules, "client", module)
    names: dict[str, Any] = {}
    exec(example.replace("ws://127.0.0.1:8000/ws", server.ws_url).replace("asyncio.run(main())", ""), names)
    client = module.Client(server.ws_url, "broadcast")

    async def ping() -> None:
        while True:  # until the other one is there
            await client.send("broadcast", "ping", author="Ann")
            await asyncio.sleep(0.1)

    async with reading(client) as reader, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(names["main"]()), tasks.create_task(ping())]
        heard = await reader.hear_until("pong")
        for task in running:
            task.cancel()
    assert heard
