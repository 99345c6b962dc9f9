"""The rows of the table: what is measured, and how it is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.speech import Speech

ROOT = Path(__file__).resolve().parent.parent
LAYERS = {"memory": "in-memory layer", "pubsub": "Redis pub/sub layer", "core": "Redis core layer"}
APPLICATIONS = {
    "tutorial": "Channels tutorial",
    "accept": "accept only",
    "accept_sessions": "accept only, behind sessions",
}


SERVERS = {
    "uvicorn": "uvicorn",
    "uvloop": "uvicorn, uvloop",
    "wsproto": "uvicorn, wsproto",
    "granian": "granian",
    "hypercorn": "hypercorn",
}
"""ASGI servers other than daphne; their clients take batches."""
DEFLATING = ("uvicorn", "uvloop")  # compression is agreed upon, as with browsers

SPEECH = Speech()


@dataclass(frozen=True)
class Row:
    """One server to measure."""

    key: str
    title: str
    application: str
    layer: str = "memory"
    project: Path = ROOT
    speech: Speech = SPEECH
    server: str = "daphne"
    database: str = "sqlite"
    site: str = ""  # keys of BROADCAST that differ, as JSON

    @property
    def is_ours(self) -> bool:
        return self.application == "ours"

    @property
    def is_django(self) -> bool:
        return self.application not in ("websockets", "c")

    @property
    def is_on_daphne(self) -> bool:
        return self.is_django and self.server == "daphne"

    @property
    def is_on_sqlite(self) -> bool:
        return self.database == "sqlite"

    @property
    def can_send(self) -> bool:
        return not self.application.startswith("accept")

    @property
    def can_relay(self) -> bool:
        return self.can_send and self.application != "c" and not self.speech.is_batched


def all_rows(projects: Sequence[tuple[str, Path]], sites: Sequence[tuple[str, str]] = ()) -> list[Row]:
    """Every row there is; this project's once for each checkout, given as a name ("" for the only one) and a path.

    ``sites`` are names of further settings, each with keys of ``BROADCAST`` as JSON: this project on daphne is there
    once more with each of them.
    """
    rows = [row for rows in zip(*(rows_of(name, path) for name, path in projects), strict=True) for row in rows]
    rows += [
        replace(row, key=f"{row.key}-{name}", title=f"{row.title}, {name}", site=site)
        for name, site in sites
        for row in rows
        if row.is_on_daphne
    ]
    tutorial = Speech(greeting="", is_tutorial=True)
    project = projects[0][1]
    for layer, title in LAYERS.items():
        rows.append(
            Row(f"tutorial-{layer}", f"{APPLICATIONS['tutorial']}, {title}", "tutorial", layer, project, tutorial)
        )
    silent = Speech(greeting="")
    for key in ("accept", "accept_sessions"):
        rows.append(Row(key.replace("_", "-"), APPLICATIONS[key], key, "memory", project, silent))
    rows.append(Row("websockets", "websockets, broadcast()", "websockets"))
    rows.append(Row("c", "C, one send() each", "c"))
    return rows


def rows_of(name: str, path: Path) -> list[Row]:
    """The rows of one checkout of this project."""
    key, this = name or "ours", name or "this project"
    rows = [Row(f"{key}-{layer}", f"{this}, {title}", "ours", layer, path) for layer, title in LAYERS.items()]
    rows += [
        replace(row, key=f"{row.key}-postgres", title=f"{row.title}, PostgreSQL", database="postgres")
        for row in rows
        if row.layer != "core"
    ]
    for server, title in SERVERS.items():
        batched = Speech(greeting="", is_batched=True, is_deflated=server in DEFLATING)
        rows.append(Row(f"{key}-{server}", f"{this}, {title}", "ours", "memory", path, batched, server))
    return rows
