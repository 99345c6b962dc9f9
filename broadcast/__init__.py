"""Live messages for Django sites: sent once, kept in a log, pushed to every connected browser."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine.publishing import asend, asend_many, send, send_many

__all__ = ["asend", "asend_many", "send", "send_many"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Loaded on first use: an app's package is imported before its models may be.
    if name in __all__:
        return getattr(import_module("broadcast.engine.publishing"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
