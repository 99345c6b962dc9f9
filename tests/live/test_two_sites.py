"""Production and staging, a copy of it, on one Redis: what one says the other does not take for its own."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.clients import WAIT, Client, push
from tests.services import Redis
from tests.site import Daphne, Site

SEND = """
import django
django.setup()
from broadcast import send
send("of staging")
send("of staging, typing", persist=False)
"""


@pytest.mark.parametrize(("layer", "number"), [("pubsub", "/0"), ("pubsub", "/1"), ("core", "/0")])
def test_a_staging_copy_on_the_same_redis_is_not_heard_in_production(
    layer: str,
    number: str,
    redis: Redis,
    daphne: Callable[..., Daphne],
    site: Site,
    visit: Callable[..., Client],
    tmp_path: Path,
) -> None:
    env = {"REDIS_URL": redis.url, "REDIS_LAYER": layer, "SECRET_KEY": "of production"}
    patient = {"DJANGO_SETTINGS_MODULE": "tests.live.host_settings", "BROADCAST": '{"POLL_INTERVAL": 3600}'}
    server = daphne(**env, **patient)
    push(server, "before the copy")
    client = visit(server)
    copy = shutil.copy(site.database, tmp_path / "staging.sqlite3")
    staging = Site(Path(copy), **env | {"SECRET_KEY": "of staging", "REDIS_URL": redis.url.replace("/0", number)})
    subprocess.run([sys.executable, "-c", SEND], cwd=staging.root, env=staging.env, check=True, timeout=WAIT)
    push(server, "of production")
    heard = client.hear()
    assert (heard["offset"], heard["body"]) == (2, "of production")
