from typing import Any

import pytest


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The hints and events that nodes are told of."""
    heard: list[Any] = []
    monkeypatch.setattr("broadcast.engine.hub.hub.Hub.on_hint", lambda _, hint: heard.append(hint))
    monkeypatch.setattr("broadcast.engine.node.Node.on_control", lambda _, event: heard.append(event))
    return heard
