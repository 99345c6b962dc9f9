"""A whole client in Python, written from protocol.md, which shows it at work. It needs `pip install websockets`."""

import asyncio
import json
import random
import uuid
from contextlib import suppress

from websockets import ConnectionClosed, InvalidHandshake, InvalidStatus, connect


class Refused(Exception):
    """A sentence for people, a code, and after how many milliseconds to try again, if at all."""


class Client:
    def __init__(self, url, *names, headers=None):
        self.options = {"uri": f"{url}?join=none", "subprotocols": ["broadcast.v1"], "additional_headers": headers}
        self.follows = {name.partition(":")[0]: {"type": "subscribe", "group": name, "after": None} for name in names}
        self.waiting = {}  # by ref: what was said and is not acknowledged, and a future
        self.heard, self.is_live, self.user, self.tries, self.over = asyncio.Queue(), False, ..., 0, False

    async def frames(self):
        """Yields what comes, over as many connections as it takes; raises Refused when it may not come back."""
        task = asyncio.create_task(self.run())
        task.add_done_callback(lambda task: self.heard.put_nowait(None))
        try:
            while frame := await self.heard.get():
                yield frame
            await task
        finally:
            task.cancel()
            self.over = True
            self.give_up("The client has ended.")
            await asyncio.wait([task])

    async def send(self, group, body, **fields):
        """Returns the message when it is in the log, while `frames()` is read; raises Refused if it cannot be."""
        if self.over:
            raise Refused("The client has ended.", "closed")
        said = {"body": body, "group": group, "ref": str(uuid.uuid4()), **fields}
        _, answer = self.waiting[said["ref"]] = said, asyncio.get_running_loop().create_future()
        try:
            if self.is_live:
                with suppress(ConnectionClosed):  # then it is said again over the next connection
                    await self.socket.send(json.dumps(said))
            return await answer
        finally:
            del self.waiting[said["ref"]]

    def unanswered(self):
        return [(said, answer) for said, answer in self.waiting.values() if not answer.done()]

    def give_up(self, why):
        for _, answer in self.unanswered():
            answer.set_exception(Refused(f"{why} Nobody can say whether this was sent.", "closed"))

    def give_back_largest(self, why):  # what was too large to be read is answered without its ref
        for _, answer in sorted(self.unanswered(), key=lambda one: len(json.dumps(one[0])))[-1:]:
            answer.set_exception(Refused(why, "too_large"))

    async def run(self):
        while True:
            self.is_live, self.reason, self.after_ms, self.tries = False, "", 0, self.tries + 1
            try:
                async with connect(**self.options) as self.socket:  # which sends pings by itself
                    for asked in self.follows.values():
                        await self.socket.send(json.dumps(asked))
                    async for text in self.socket:
                        await self.hear(json.loads(text))
            except ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else 1006
                if code == 1009 and self.is_live:
                    self.give_back_largest(closed.rcvd.reason)
                if 4500 <= code < 5000:
                    raise Refused(self.reason, code) from None
            except (OSError, InvalidHandshake) as error:
                if isinstance(error, InvalidStatus) and error.response.status_code < 500:
                    raise Refused(str(error), error.response.status_code) from None
            await asyncio.sleep(self.after_ms / 1000 + random.uniform(0, min(30, 2**self.tries)))

    async def hear(self, frame):
        kind, group, offset = frame["type"], frame.get("group"), frame.get("offset")
        _, answer = self.waiting.get(frame.get("ref"), (None, asyncio.Future()))
        if kind == "bye":
            self.reason, self.after_ms = frame["reason"], frame["after_ms"] or 0
        elif kind == "error" and frame.get("ref") in self.waiting:
            answer.done() or answer.set_exception(Refused(frame["body"], frame["code"], frame.get("retry_after_ms")))
        elif kind == "error" and group and frame["code"] != "forbidden":  # comes back to ask again
            self.after_ms = frame.get("retry_after_ms", 1000)
            await self.socket.close()
        elif kind == "message":
            answer.done() or answer.set_result(frame)
            if not frame.get("duplicate") and (offset is None or offset > (self.follows[group]["after"] or 0)):
                self.follows[group]["after"] = offset or self.follows[group]["after"]
                self.heard.put_nowait(frame)
        elif kind == "error" and frame["code"] == "too_large":
            self.give_back_largest(frame["body"])
        elif kind == "error":
            self.follows.pop(group, None)
            self.heard.put_nowait(frame)
            if not self.follows:
                raise Refused("None of the groups may be followed.", "forbidden")
        elif kind in ("welcome", "reset"):
            self.follows[group] |= {"after": offset, "epoch": frame["epoch"]}
            if frame.get("lost", True):  # otherwise only the epoch is new
                self.heard.put_nowait(frame)
            is_new = kind == "welcome" and not self.is_live
            if is_new:
                if self.user not in (..., frame["user"]):  # nothing goes out under another name
                    self.give_up("Somebody else is signed in.")
                self.is_live, self.user, self.tries = True, frame["user"], 0
            if is_new or kind == "reset":  # the answer may be in what was skipped
                for said, _ in self.unanswered():
                    await self.socket.send(json.dumps(said))
