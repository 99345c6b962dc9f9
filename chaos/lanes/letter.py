"""Readers that also write."""

import asyncio
import uuid

from chaos import GROUPS, text_of
from chaos.lanes.lane import Lane, Outcomes
from chaos.ledger import NOT_SENT, SENT, UNKNOWN, Ledger
from chaos.readers import Reader
from chaos.tutorial_readers import TutorialReader

LETTER_TIMEOUT = 15.0  # as in the page's outbox.js
SAYS_NOT_SENT = "was not sent"


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
