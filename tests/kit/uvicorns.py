"""A uvicorn with an event loop and a WebSocket implementation of the test's choice."""

import subprocess
from pathlib import Path
from typing import Any

from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from tests.kit.clients import ManualClient
from tests.kit.servers import Server, self_made
from tests.kit.waiting import wait_until
from tests.site import START_SECONDS

LOOPS = ("asyncio", "uvloop")


class Uvicorn(Server):
    """A uvicorn of `tests.live.host`, with the WebSocket implementation that it takes by itself, or another."""

    def __init__(self, database: Path, loop: str, ws: str = "auto", way: str = "tcp", **settings: Any) -> None:
        super().__init__(database, way, **settings)
        self.loop = loop
        self.ws = ws

    def start(self) -> None:
        address = ["--uds", str(self.path)] if self.way == "unix" else ["--port", str(self.port)]
        if self.way == "tls":
            key, certificate = self_made(self.path.parent)
            address += ["--ssl-keyfile", str(key), "--ssl-certfile", str(certificate)]
        options = ["--loop", self.loop, "--ws", self.ws, "--lifespan", "off", "--timeout-graceful-shutdown", "2"]
        with self.log_file.open("a") as log:
            command = ("-m", "uvicorn", *address, *options, self.application)
            process = self.spawn(*command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(lambda: process.poll() is not None or self.is_listening(), START_SECONDS)
        assert process.poll() is None, f"uvicorn did not start:\n{self.log}"

    def visit_deflated(self, path: str = "/ws?v=1") -> ManualClient:
        """A visitor that takes compressed frames, as browsers do."""
        client = ManualClient(self.socket(), path, extensions=[ClientPerMessageDeflateFactory()])
        return self.visitors.enter_context(client).welcomed()
