"""What tests of the engine share."""

import pytest

from tests.kit.clock import StandingClock


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()
