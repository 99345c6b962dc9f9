"""Hints without a channel layer: among the processes of one machine by sockets, among machines by PostgreSQL."""

from collections.abc import Callable

import pytest

from tests.kit.clients import Client
from tests.site import Daphne, Site

LAYERLESS = "tests.live.layerless_settings"
MEMORY = "tests.live.host_settings"
PATIENT = '{"POLL_INTERVAL": 3600}'


@pytest.mark.parametrize("module", [LAYERLESS, MEMORY])
def test_processes_that_share_an_sqlite_file_hear_each_other_at_once(
    daphne: Callable[..., Daphne], site: Site, visit: Callable[..., Client], module: str
) -> None:
    env = {"DJANGO_SETTINGS_MODULE": module, "BROADCAST": PATIENT}
    first, second = visit(daphne(**env)), visit(daphne(**env))
    site.env |= env
    site.shell("from broadcast import send\nsend('one')\nsend('typing', persist=False)\nsend('two')")
    for client in (first, second):
        assert {client.hear()["body"] for _ in range(3)} == {"one", "typing", "two"}
