"""Bugs that are planted in a copy of the product, one at a time, to see that the simulation finds them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TREES = ("broadcast", "project", "tests", "templates")


@dataclass(frozen=True)
class Bug:
    """Lines of the product, and what stands in their place."""

    name: str
    edits: tuple[tuple[str, str, str], ...]  # file below broadcast/, text, other text
    on_postgresql: bool = False  # about locks of rows, which SQLite does not have

    def plant(self, tree: Path) -> None:
        for name, before, after in self.edits:
            file = tree / "broadcast" / name
            text = file.read_text()
            if text.count(before) != 1:
                raise ValueError(f"{self.name}: the code has changed; {name} has {before!r} {text.count(before)} times")
            file.write_text(text.replace(before, after))


HUB, STREAM, LOG, DATABASE = (
    "engine/hub/hub.py",
    "engine/hub/stream.py",
    "engine/storage/log.py",
    "engine/storage/database.py",
)

BUGS = [
    Bug(
        "a position stands still behind ephemerals",
        (
            (
                STREAM,
                "return max(position.index, self.ring.start, min(index, position.ephemeral_from))",
                "return max(position.index, self.ring.start)",
            ),
        ),
    ),
    Bug(
        "the poll sequences what waits in all groups",
        (
            (
                HUB,
                "            if head.has_waiting:\n                self._start_sequencing(stream.name)\n        if failures",
                "            if head.has_waiting:\n                await self._sequence(stream.name)\n        if failures",
            ),
            (HUB, "            del self._sequencing[group]\n", "            self._sequencing.pop(group, None)\n"),
            (
                LOG,
                "def sequence(self, name: str, patience: float = IMPATIENCE)",
                "def sequence(self, name: str, patience: float = 60.0)",
            ),
        ),
        on_postgresql=True,
    ),
    Bug(
        "who is ahead takes a look that is under way",
        (
            (
                HUB,
                "            await asyncio.wait([under_way])\n",
                "            await asyncio.wait([under_way])\n            return\n",
            ),
        ),
    ),
    Bug(
        "who knows another epoch waits for no look",
        ((STREAM, "and epoch in (self.epoch, VOID)", "or epoch != self.epoch"),),
    ),
    Bug(
        "pages of another epoch are told",
        ((LOG, "if any(row.epoch != epoch for row in found):", "if False:"),),
    ),
    Bug(
        "one group that fails ends the look at all",
        ((HUB, "                failures.append(error)\n                continue\n", "                raise\n"),),
    ),
    Bug("early frames outlive their epoch", ((STREAM, "        self.out_of_order.clear()\n", ""),)),
    Bug(
        "the one beyond a full batch is dropped",
        (
            (
                "engine/commit.py",
                "                if request.begin():\n                    batch.append(request)\n                    room -= len(request.drafts)\n",
                "                if request.begin():\n                    batch.append(request)\n                    room -= len(request.drafts)\n"
                "            if self._requests and room <= 0:\n                self._requests.popleft()\n",
            ),
        ),
    ),
    Bug(
        "a batch is shared with who joined later",
        ((STREAM, "if batch is not None and position.index >= position.ephemeral_from:", "if batch is not None:"),),
    ),
    Bug(
        "the floor is forgotten at a restart",
        (
            (
                STREAM,
                "self.epoch, self.begin, self.floor = epoch, max(begin, floor), floor",
                "self.epoch, self.begin, self.floor = epoch, begin, floor",
            ),
            (STREAM, "        start = max(self.begin, self.floor)\n", "        start = self.begin\n"),
        ),
    ),
    Bug(
        "the head is read before the channel is joined",
        (
            (
                HUB,
                "        await self._node.receiver.add(group)\n        with suppress(NoLog):\n            head = await self._database.read(self._log.head, group)\n",
                "        with suppress(NoLog):\n            head = await self._database.read(self._log.head, group)\n            await self._node.receiver.add(group)\n",
            ),
        ),
    ),
    Bug(
        "a poll is skipped after an error",
        (
            (
                HUB,
                "        except Exception as error:\n            report(error)\n        self._drop_idle()\n",
                "        except Exception as error:\n            report(error)\n            self._failed = True\n        self._drop_idle()\n",
            ),
            (
                HUB,
                "            if self.streams:  # otherwise",
                "            if self.streams and not getattr(self, '_failed', False):  # otherwise",
            ),
        ),
    ),
    Bug(
        "an offset is off by one at the edge of the ring",
        (
            (
                "engine/hub/ring.py",
                "oldest = self.last if first is None else first - 1",
                "oldest = self.last if first is None else first - 2",
            ),
        ),
    ),
    Bug(
        "what waits is sequenced newest first",
        ((LOG, '.order_by("id")) if head.has_waiting', '.order_by("-id")) if head.has_waiting'),),
    ),
    Bug(
        "a new row gets an epoch that was there before",
        ((DATABASE, 'defaults={"epoch": new_epoch()}', 'defaults={"epoch": f"derived-{name}"}'),),
    ),
    Bug(
        "a void position is taken without a look at the floor",
        (
            (
                STREAM,
                "    return max(after, floor), after >= floor\n",
                "    return (after, True) if is_void else (max(after, floor), after >= floor)\n",
            ),
        ),
    ),
    Bug(
        "the first message comes before its reset",
        (
            (
                STREAM,
                "        if hint.epoch != self.epoch:\n            return True\n",
                "        if hint.epoch != self.epoch and self.epoch == VOID:\n            self.epoch = hint.epoch\n        if hint.epoch != self.epoch:\n            return True\n",
            ),
            (
                STREAM,
                "        if position.epoch != self.epoch:\n            return self.begin_anew(position)\n",
                "        if position.epoch != self.epoch and position.epoch != VOID:\n            return self.begin_anew(position)\n",
            ),
        ),
    ),
    Bug(
        "erasing deletes the row",
        (
            (
                "engine/storage/pruning.py",
                '            groups().filter(name=group).update(epoch=self._system.token(), begin=F("head"), floor=F("head"))\n',
                "            groups().filter(name=group).delete()\n",
            ),
        ),
    ),
]


@contextmanager
def planted(bug: Bug) -> Iterator[Path]:
    """A copy of the product with the bug in it."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for tree in TREES:
            shutil.copytree(ROOT / tree, copy / tree, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        bug.plant(copy)
        yield copy
