"""The pytest plugin: a site's tests have its fixture as soon as this package is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import Captured


def pytest_runtest_setup() -> None:
    """Begins each test with nothing counted: what visitors of one test did limits nobody in the next."""
    from django.apps import apps

    if apps.ready and apps.is_installed("broadcast"):
        from .engine.process import current_process

        current_process().limits.forget()


@pytest.fixture
def broadcasts() -> Iterator[Captured]:
    """The messages that were sent during the test, as `broadcast.testing.capture_broadcasts()` collects them."""
    from .testing import capture_broadcasts  # needs loaded apps, and pytest imports this file before there are any

    with capture_broadcasts() as captured:
        yield captured
