"""Each test begins like a process in which nothing is known to be away."""

from collections.abc import Iterator

import pytest

from broadcast.engine.layer_sender import layer_sender
from broadcast.engine.outages import layer_failing, log_failing, no_log


@pytest.fixture(autouse=True)
def all_is_well() -> Iterator[None]:
    for outage in (no_log, log_failing, layer_failing):
        outage.is_on = False
    yield
    layer_sender.flush()
