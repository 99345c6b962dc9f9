"""Links that break in one direction: `python -m chaos.proxy CONTROL PORT:TARGET …` forwards TCP until told not to.

A line of JSON to the control port, such as `{"link": 0, "way": "to", "is_stopped": true}`, sets how a link forwards:
`to` its target, or what comes `from` it. What is stopped is held back, not lost, and nobody is told.
"""

import asyncio
import json
import sys
from dataclasses import dataclass, field, replace

CHUNK = 65536


@dataclass(frozen=True, slots=True)
class Quality:
    """How one direction of a link forwards: not at all, late, or only so many bytes a second (0: all)."""

    is_stopped: bool = False
    delay: float = 0.0  # seconds, each chunk
    rate: float = 0.0

    def pause_for(self, size: int) -> float:
        return self.delay + (size / self.rate if self.rate else 0.0)


@dataclass(slots=True)
class Direction:
    """One direction of a link, for all of its connections."""

    quality: Quality = field(default_factory=Quality)
    is_open: asyncio.Event = field(default_factory=asyncio.Event)

    def set(self, quality: Quality) -> None:
        self.quality = quality
        (self.is_open.clear if quality.is_stopped else self.is_open.set)()

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forwards until one side ends."""
        while data := await reader.read(CHUNK):
            await self.is_open.wait()
            await asyncio.sleep(self.quality.pause_for(len(data)))
            await self.is_open.wait()
            writer.write(data)
            await writer.drain()


class Link:
    """Everything that goes through one port to one target and back."""

    def __init__(self, target: int) -> None:
        self.ways = {"to": Direction(), "from": Direction()}
        for way in self.ways.values():
            way.set(Quality())
        self._target = target

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection; either side's end is the other's."""
        sides = [writer]
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target)
            sides.append(target_writer)
            there = asyncio.create_task(self.ways["to"].forward(reader, target_writer))
            back = asyncio.create_task(self.ways["from"].forward(target_reader, writer))
            _, pending = await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
        except OSError:
            pass  # nobody listens: the caller is told by the end of its connection
        finally:
            for side in sides:
                side.close()


async def obey(links: list[Link], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Follows what the control port is told, and answers each line."""
    while line := await reader.readline():
        order = json.loads(line)
        way = links[order.pop("link")].ways[order.pop("way")]
        way.set(replace(Quality(), **order))
        writer.write(b"done\n")
        await writer.drain()
    writer.close()


async def main(control: int, pairs: list[list[int]]) -> None:
    links = [Link(target) for _, target in pairs]
    servers = [
        await asyncio.start_server(link.connected, "127.0.0.1", port)
        for link, (port, _) in zip(links, pairs, strict=True)
    ]
    servers.append(await asyncio.start_server(lambda *streams: obey(links, *streams), "127.0.0.1", control))
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), [[int(port) for port in pair.split(":")] for pair in sys.argv[2:]]))
