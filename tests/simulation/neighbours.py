"""Notices between processes of a site without a channel layer: lost, doubled and delayed as the layer's events are."""

from __future__ import annotations

from functools import partial
from typing import Any

from broadcast.engine.hints.notices import Notice, NoticeWriter, Outbox
from broadcast.engine.hints.ways import Way
from broadcast.engine.node import Node
from broadcast.engine.process import Process
from tests.simulation.layer import SimulatedLayer

MAX_NOTICE = 400  # bytes, so that much is split


class SimulatedWay(Way):
    """One process's way to those of the others, over the network that is below the layer."""

    def __init__(self, network: SimulatedLayer, process: Process) -> None:
        self._network = network
        self._writer = NoticeWriter(process, MAX_NOTICE)
        self._nodes: dict[Node, None] = {}
        network.ways[self] = None

    def send(self, outbox: Outbox) -> None:
        for notice in self._writer.notices(outbox):
            for way in self._network.ways:
                for node in way._nodes:
                    self._network.post(partial(arrive, self._network, node, notice))

    def listen(self, node: Node) -> None:
        self._nodes[node] = None

    def leave(self, node: Node) -> None:
        self._nodes.pop(node, None)

    def flush(self) -> None:
        """What is sent is on its way."""

    def abandon(self) -> None:
        """Nobody forks here."""


def arrive(network: SimulatedLayer, node: Node, notice: Notice) -> None:
    loop: Any = node.loop
    for event in notice.content.events:
        network.on_arrival(loop.owner, dict(event))
    if not loop.is_closed():
        loop.call_soon_threadsafe(node.notices.read, [notice.data])
