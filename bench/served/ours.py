"""How this project sends."""

from concurrent.futures import ThreadPoolExecutor

from bench.served.controlled import Sender
from broadcast import asend, asend_many, send, send_many


class OursSender(Sender):
    async def send(self, texts: list[str], persist: bool, together: bool) -> None:
        if together and len(texts) > 1:
            await asend_many(texts, persist=persist)
            return
        for text in texts:
            await asend(text, persist=persist)

    def publish(self, texts: list[str], threads: int, together: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            if together == 1:
                list(pool.map(send, texts))
            else:
                list(pool.map(send_many, [texts[at : at + together] for at in range(0, len(texts), together)]))

    def tell(self, texts: list[str], groups: list[str]) -> None:
        send_many([{"body": text, "group": group} for group in groups for text in texts])
