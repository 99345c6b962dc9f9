"""Ways of notices from process to process: what each of them has to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from .notices import Outbox

if TYPE_CHECKING:
    from ..node import Node


class Way(ABC):
    """One way of notices to other processes, of one process. What it loses costs time, never a message.

    Nothing in it waits for anybody who listens. A node that listens hands what came to its ``notices``, in its loop.
    ``is_alone`` is true while this process listens and nobody else does, as far as that can be known.
    """

    is_alone = False

    @abstractmethod
    def send(self, outbox: Outbox) -> None:
        """Sends from any thread. What cannot be sent at once is kept, and tried again for a while."""

    @abstractmethod
    def listen(self, node: Node) -> None:
        """Has a node listen, in whose loop this is called, and makes up for what was lost of that meanwhile."""

    @abstractmethod
    def leave(self, node: Node) -> None:
        """Has a node listen no more."""

    @abstractmethod
    def flush(self) -> None:
        """Waits a moment for what is kept."""

    @abstractmethod
    def abandon(self) -> None:
        """Lets go, in a child process, of what is the parent's."""
