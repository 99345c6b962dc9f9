"""Publishers that ask a server: views of this run, and the app's own."""

import asyncio
import json
from urllib.parse import quote

from chaos import GROUPS, text_of
from chaos.fleet import Server
from chaos.lanes.lane import VIEW_ACTS, Lane, Outcomes
from chaos.ledger import NOT_SENT, SENT, UNKNOWN, Ledger

REQUEST_TIMEOUT = 20.0


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
