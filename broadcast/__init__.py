"""Live messages for Django sites: sent once, kept in a log, pushed to every connected browser."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine.publish import asend, asend_many, send, send_many

__all__ = ["asend", "asend_many", "send", "send_many"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Who imports a name while apps are being loaded gets one that looks for the function when it is called.
    return _function(name) if import_module("django.apps").apps.apps_ready else partial(_call, name)


def _function(name: str) -> Any:
    return getattr(import_module("broadcast.engine.publish"), name)


def _call(name: str, *args: Any, **kwargs: Any) -> Any:
    return _function(name)(*args, **kwargs)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
