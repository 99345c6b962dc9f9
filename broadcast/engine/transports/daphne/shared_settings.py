"""autobahn's settings, kept by the class of a server's connections: each would copy, and format, a table of them."""

from __future__ import annotations

import sys
from typing import Any

SHARED = "broadcast_shares_settings"


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
        self._values: list[Any] = []

    def apply(self) -> None:
        """Has the connections that come next find the factory's settings, as they are now, in their class."""
        factory = self._factory
        try:
            if factory.protocol is not self._shared:
                self._look_at(factory.protocol)
            values = [getattr(factory, name) for name in self._names]
            if self._shared is None or values != self._values:
                self._shared, self._values = self._class_with(values), values
            factory.protocol = self._shared if self._names and not is_debugging() else self._base
        except Exception:  # another autobahn, or a class of the site's own that does not take part in this
            factory.protocol = self._base

    def _look_at(self, base: Any) -> None:
        """Finds what a connection would copy; nothing for a class derived from a shared one, which has what it has."""
        self._base, self._shared = base, None
        is_derived = any(SHARED in vars(kind) for kind in base.__mro__)
        self._names = [] if is_derived else [name for name in base.CONFIG_ATTRS if not hasattr(base, name)]

    def _class_with(self, values: list[Any]) -> Any:
        base = self._base
        named = {key: getattr(base, key) for key in ("__module__", "__qualname__", "__doc__")}
        found = dict(zip(self._names, map(unbound, values), strict=True))
        return type(base.__name__, (base,), found | named | {"CONFIG_ATTRS": (), SHARED: True})


def unbound(value: Any) -> Any:
    """A value as an attribute of a class, from which a function would come bound."""
    return staticmethod(value) if callable(value) else value


def is_debugging() -> bool:
    """True if autobahn logs at debug, or does not say."""
    level = getattr(sys.modules.get("txaio"), "get_global_log_level", None)
    return level is None or level() in ("debug", "trace")
