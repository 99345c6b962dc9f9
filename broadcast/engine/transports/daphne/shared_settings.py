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
        self._values: dict[str, Any] = {}

    def apply(self) -> None:
        """Has the connections that come next find the factory's settings, as they are now, in their class."""
        factory = self._factory
        if factory.protocol is not self._shared:
            self._base, self._shared = factory.protocol, None
        try:
            values = None if is_debugging() else self._read()
            if values is not None and (self._shared is None or values != self._values):
                self._shared, self._values = self._class_with(values), values
            factory.protocol = self._base if values is None else self._shared
        except Exception:  # another autobahn, or a class of the site's own that does not take part in this
            factory.protocol = self._base

    def _read(self) -> dict[str, Any] | None:
        """What a connection would copy; None for a class that was derived from a shared one, and has what it has."""
        if any(SHARED in vars(kind) for kind in self._base.__mro__):
            return None
        return {name: getattr(self._factory, name) for name in self._base.CONFIG_ATTRS if not hasattr(self._base, name)}

    def _class_with(self, values: dict[str, Any]) -> Any:
        base = self._base
        named = {key: getattr(base, key) for key in ("__module__", "__qualname__", "__doc__")}
        found = {name: unbound(value) for name, value in values.items()}
        return type(base.__name__, (base,), found | named | {"CONFIG_ATTRS": (), SHARED: True})


def unbound(value: Any) -> Any:
    """A value as an attribute of a class, from which a function would come bound."""
    return staticmethod(value) if callable(value) else value


def is_debugging() -> bool:
    """True if autobahn logs at debug, or does not say."""
    level = getattr(sys.modules.get("txaio"), "get_global_log_level", None)
    return level is None or level() in ("debug", "trace")
