"""Hints without a channel layer: among the processes of one machine by sockets, among machines by PostgreSQL."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.clients import WAIT, Client
from tests.kit.servers import new_database
from tests.services import Postgres
from tests.site import Daphne, Site

LAYERLESS = "tests.live.layerless_settings"
MEMORY = "tests.live.host_settings"
PATIENT = '{"POLL_INTERVAL": 3600}'


PATCHED = "from gevent import monkey\nmonkey.patch_all()\n"
SEND = """
import django
django.setup()
from broadcast import send
send("one")
send("typing", persist=False)
send("two")
"""


@pytest.mark.parametrize(("module", "code"), [(LAYERLESS, SEND), (MEMORY, SEND), (LAYERLESS, PATCHED + SEND)])
def test_processes_that_share_an_sqlite_file_hear_each_other_at_once(
    daphne: Callable[..., Daphne], site: Site, visit: Callable[..., Client], module: str, code: str
) -> None:
    env = {"DJANGO_SETTINGS_MODULE": module, "BROADCAST": PATIENT}
    first, second = visit(daphne(**env)), visit(daphne(**env))
    site.env |= env
    with site.spawn("-c", code, is_fresh=True) as process:
        assert process.wait(WAIT) == 0
    for client in (first, second):
        assert {client.hear()["body"] for _ in range(3)} == {"one", "typing", "two"}


def test_machines_that_share_a_postgresql_hear_each_other_at_once(
    daphne: Callable[..., Daphne],
    site: Site,
    visit: Callable[..., Client],
    postgres: Postgres,
    tmp_path: Path,
) -> None:
    """Each process has a directory of its own for sockets, as if it were on a machine of its own."""
    address = new_database(postgres, "neighbours")
    env = {"DJANGO_SETTINGS_MODULE": LAYERLESS, "BROADCAST": PATIENT, "DATABASE_URL": address}
    for name in "abc":
        (tmp_path / name).mkdir()
    clients = [visit(daphne(XDG_RUNTIME_DIR=str(tmp_path / name), **env)) for name in "ab"]
    site.env |= env | {"XDG_RUNTIME_DIR": str(tmp_path / "c")}
    site.shell("from broadcast import send\nsend('one')\nsend('typing', persist=False)\nsend('two')")
    for client in clients:
        assert [client.hear()["body"] for _ in range(2)] == ["one", "two"]
