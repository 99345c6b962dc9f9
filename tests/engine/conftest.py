"""Each test begins like a process in which nothing is known to be away."""

from collections.abc import Iterator

import pytest
from asgiref.sync import SyncToAsync
from django.db import connections

from broadcast.engine.health import layer_failing, log_failing, no_log
from broadcast.engine.hints.publisher import layer_publisher


@pytest.fixture(autouse=True)
def all_is_well() -> Iterator[None]:
    for outage in (no_log, log_failing, layer_failing):
        outage._places.clear()
    yield
    layer_publisher.flush()
    # The thread in which async tests use the database outlives them; its connection need not.
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()
