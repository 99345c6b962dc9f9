"""PostgreSQL, some of whose connections are lost in the middle of a COMMIT."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Any

from django.db import OperationalError
from django.db.backends.postgresql import base

from chaos.settings import CHAOS_COMMIT_FAULTS, CHAOS_SEED, CHAOS_TALLY
from chaos.tally import Tally

AWAY = 3.0  # seconds without a new connection, after some of the losses: longer than anybody tries again

random = Random(f"{CHAOS_SEED}:database")
tally = Tally(CHAOS_TALLY)


before_commit: list[Callable[[], None]] = []
"""What is called once, before the next COMMIT of this process."""


@contextmanager
def freezing(freeze: Callable[[], None]) -> Iterator[None]:
    """Has the next COMMIT inside begin with ``freeze``."""
    before_commit.append(freeze)
    try:
        yield
    finally:
        with suppress(ValueError):
            before_commit.remove(freeze)


class DatabaseWrapper(base.DatabaseWrapper):
    """Loses a share of its connections in a COMMIT: before the server has heard of it, or after it has done it."""

    _away_until = 0.0

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if time.monotonic() < self._away_until:
            raise OperationalError("chaos: the database is away")
        return super().get_new_connection(conn_params)

    def _commit(self) -> None:
        if before_commit:
            before_commit.pop()()
        if self.connection is None or random.random() >= CHAOS_COMMIT_FAULTS:
            super()._commit()  # type: ignore[misc]
            return
        if random.random() < 0.5:
            self._away_until = time.monotonic() + AWAY
        if random.random() < 0.5:
            tally.add("connection lost before its COMMIT")
        else:
            super()._commit()  # type: ignore[misc]
            tally.add("connection lost after its COMMIT")
        self.connection.close()
        raise OperationalError("chaos: the connection was lost during COMMIT")
