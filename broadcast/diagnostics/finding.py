"""What the doctor says of each thing that it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(slots=True, frozen=True)
class Finding:
    """One thing that was looked at: how it is, and what to do if it is not well."""

    level: Level
    text: str
    fix: str = ""
