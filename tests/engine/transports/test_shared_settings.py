"""Settings that a class of connections has for all of them, as long as autobahn would have copied the same."""

from typing import Any

import pytest
import txaio
from autobahn.websocket.protocol import WebSocketServerProtocol
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.server import Server
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from twisted.internet.testing import StringTransport

from broadcast.engine.transports.daphne.receive import throttle_handshakes
from broadcast.engine.transports.daphne.shared_settings import SharedSettings
from tests.kit.sockets import HANDSHAKE


@pytest.fixture
async def factory() -> Any:
    factory = WebSocketFactory(Server(lambda scope: None, endpoints=["tcp:0"]), server="daphne")
    factory.setProtocolOptions(autoPingTimeout=30, allowNullOrigin=True, openHandshakeTimeout=0)
    return factory


def settings_of(factory: Any) -> dict[str, Any]:
    """What a new connection takes for its settings."""
    protocol = factory.buildProtocol(None)
    protocol._connectionMade()
    return {name: getattr(protocol, name) for name in WebSocketProtocol.CONFIG_ATTRS}


async def test_a_connection_has_the_settings_of_the_factory_and_no_copy(factory):
    before = settings_of(factory)
    SharedSettings(factory).apply()
    assert settings_of(factory) == before
    protocol = factory.buildProtocol(None)
    protocol._connectionMade()
    assert not set(vars(protocol)) & set(WebSocketProtocol.CONFIG_ATTRS)
    assert isinstance(protocol, WebSocketProtocol)
    assert repr(type(protocol)) == repr(WebSocketProtocol)


async def test_options_that_are_changed_later_hold_for_the_connections_that_come_later(factory):
    settings = SharedSettings(factory)
    settings.apply()
    protocol = factory.buildProtocol(None)
    protocol._connectionMade()
    factory.setProtocolOptions(autoPingTimeout=7, perMessageCompressionAccept=lambda offers: None)
    settings.apply()
    assert settings_of(factory)["autoPingTimeout"] == 7
    assert settings_of(factory)["perMessageCompressionAccept"]([]) is None
    assert protocol.autoPingTimeout == 30
    kind = factory.protocol
    settings.apply()
    assert factory.protocol is kind


async def test_what_a_class_has_of_its_own_stays(factory):
    class Own(WebSocketProtocol):
        autoPingTimeout = 3

    settings = SharedSettings(factory)
    settings.apply()
    factory.protocol = Own
    settings.apply()
    assert settings_of(factory)["autoPingTimeout"] == 3
    assert isinstance(factory.buildProtocol(None), Own)


async def test_where_autobahn_logs_its_table_it_makes_it(factory, monkeypatch):
    settings = SharedSettings(factory)
    settings.apply()
    monkeypatch.setattr(txaio.tx, "_log_level", "debug")
    settings.apply()
    assert factory.protocol is WebSocketProtocol


class Choosy(WebSocketProtocol):
    """One that no other can be derived from just like that."""

    def __init_subclass__(cls, /, reason: str) -> None: ...


@pytest.mark.parametrize("what", ["no setting", "no table", "a class of its own"])
async def test_where_anything_is_not_as_expected_it_is_as_before(factory, monkeypatch, what):
    match what:
        case "no setting":
            del factory.webStatus
        case "no table":
            monkeypatch.delattr(WebSocketServerProtocol, "CONFIG_ATTRS")
        case _:
            factory.protocol = Choosy
    before = factory.protocol
    SharedSettings(factory).apply()
    assert factory.protocol is before


async def test_what_is_derived_from_a_shared_class_is_left_as_it_is(factory):
    settings = SharedSettings(factory)
    settings.apply()
    derived = factory.protocol = type("Derived", (factory.protocol,), {})
    settings.apply()
    assert factory.protocol is derived


async def test_each_handshake_of_a_daphne_sees_to_it(factory, monkeypatch):
    built: list[Any] = []
    monkeypatch.setattr(WebRequest, "process", lambda request: built.append(factory.buildProtocol(None)))
    server = factory.server_class
    server.ws_factory, server.http_factory, server.connections = factory, HTTPFactory(server), {}
    throttle_handshakes(server)
    protocol = server.http_factory.buildProtocol(None)
    protocol.makeConnection(StringTransport())
    protocol.dataReceived(HANDSHAKE)
    assert [type(protocol).CONFIG_ATTRS for protocol in built] == [()]
