"""A server on the `websockets` library that fans out with its `broadcast()`."""

import asyncio
import json
import sys
import time

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from bench.speech import GREETING, bodies, plain

rooms: dict[str, set[ServerConnection]] = {}


async def control(connection: ServerConnection) -> None:
    async for text in connection:
        command = json.loads(text)
        begun = time.monotonic()
        if command["do"] == "send":
            for body in bodies(command["first"], command["count"], command["size"]):
                broadcast(rooms.get("/ws", ()), plain("Server", body))
        await connection.send(json.dumps({"begun": begun}))


async def listen(connection: ServerConnection, path: str) -> None:
    room = rooms.setdefault(path, set())
    room.add(connection)
    try:
        await connection.send(GREETING)
        async for text in connection:
            said = json.loads(text)
            broadcast(rooms.get("/ws", ()), plain("Guest", said["body"]))
    finally:
        room.discard(connection)


async def serve_one(connection: ServerConnection) -> None:
    path = connection.request.path if connection.request else ""
    try:
        await (control(connection) if path == "/bench" else listen(connection, path))
    except ConnectionClosed:
        return


async def main(port: int, backlog: int) -> None:
    # No pings: daphne is started without them too, for what is counted is messages.
    async with serve(serve_one, "127.0.0.1", port, backlog=backlog, ping_interval=None, compression=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
