"""autobahn's settings, kept by the class of a server's connections: each would copy, and format, a table of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from operator import attrgetter
from typing import Any


class SharedSettings:
    """The settings of a daphne's WebSocket factory, for a class of connections that have them and copy nothing.

    autobahn copies to a connection what is in ``CONFIG_ATTRS`` and its class does not have, and then formats all of
    it for a log line at debug. Where that line is logged, or anything is not as expected, it is left to do so.
    """

    def __init__(self, factory: Any) -> None:
        self._factory = factory
        self._base: Any = None
        self._shared: Any = None
        self._names: list[str] = []
        self._read: Callable[[Any], Any] | None = None
        self._values: Any = None

    def apply(self) -> None:
        """Has the connections that come next find the factory's settings, as they are now, in their class."""
        factory = self._factory
        if factory.protocol is not self._shared:
            self._look_at(factory.protocol)
        try:
            values = self._read(factory) if self._read and not is_debugging() else None
        except AttributeError:
            values = None
        if values is None:
            factory.protocol = self._base
        elif values != self._values or factory.protocol is not self._shared:
            self._values = values
            factory.protocol = self._shared = self._class_with(values)

    def _look_at(self, base: Any) -> None:
        self._base, self._shared = base, None
        self._names = [name for name in getattr(base, "CONFIG_ATTRS", ()) if not hasattr(base, name)]
        self._read = attrgetter(*self._names) if len(self._names) > 1 else None

    def _class_with(self, values: tuple[Any, ...]) -> Any:
        base = self._base
        found = dict(zip(self._names, map(unbound, values), strict=True))
        named = {key: getattr(base, key) for key in ("__module__", "__qualname__", "__doc__")}
        return type(base.__name__, (base,), found | named | {"CONFIG_ATTRS": ()})


def unbound(value: Any) -> Any:
    """A value as an attribute of a class, from which a function would come bound."""
    return staticmethod(value) if callable(value) else value


def is_debugging() -> bool:
    """True if autobahn logs at debug, or does not say."""
    level = getattr(sys.modules.get("txaio"), "get_global_log_level", None)
    return level is None or level() in ("debug", "trace")
