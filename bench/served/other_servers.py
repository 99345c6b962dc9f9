"""The measured application on an ASGI server other than daphne, in one process: NAME PORT BACKLOG.

They send no pings of their own, so that each byte that a client gets is a message.
"""

import asyncio
import sys

APPLICATION = "bench.served.asgi:application"
OF_UVICORN = {"uvicorn": ("asyncio", "websockets-sansio"), "uvloop": ("uvloop", "websockets-sansio")} | {
    "wsproto": ("asyncio", "wsproto")
}


def serve(name: str, port: int, backlog: int) -> None:
    if name in OF_UVICORN:
        on_uvicorn(*OF_UVICORN[name], port, backlog)
    elif name == "granian":
        on_granian(port, backlog)
    else:
        asyncio.run(on_hypercorn(port, backlog))


def on_uvicorn(loop: str, websockets: str, port: int, backlog: int) -> None:
    import uvicorn

    uvicorn.run(
        APPLICATION,
        port=port,
        backlog=backlog,
        loop=loop,
        ws=websockets,
        ws_ping_interval=None,
        lifespan="off",
        log_level="warning",
    )


def on_granian(port: int, backlog: int) -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    from bench.served.asgi import application

    server = Server(application, port=port, backlog=backlog, interface=Interfaces.ASGINL, log_access=False)
    asyncio.run(server.serve())


async def on_hypercorn(port: int, backlog: int) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    from bench.served.asgi import application

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.backlog = backlog
    config.websocket_ping_interval = None
    await serve(application, config)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
