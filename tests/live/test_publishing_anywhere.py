"""Sending from whatever process: at once where the channel layer reaches, within a look into the log elsewhere."""

import json
import subprocess
import textwrap
import time
from collections.abc import Callable
from datetime import datetime
from itertools import cycle, product

import psycopg
import pytest

from tests.kit.clients import WAIT, Client, push
from tests.services import Redis
from tests.site import Daphne, Site

PROMISED = 1.5  # seconds to a process that no hint reaches
LAYERLESS = "tests.live.layerless_settings"

SET_UP = "import django\ndjango.setup()\nfrom broadcast import send\n"


def script(site: Site, code: str) -> str:
    """Runs a script as cron does; what it printed."""
    with site.spawn("-c", SET_UP + textwrap.dedent(code), stdout=subprocess.PIPE) as process:
        told, _ = process.communicate(timeout=2 * WAIT)
    assert process.returncode == 0
    return str(told)


# Ways to send


def by_script(site: Site, body: str) -> None:
    script(site, f"send({body!r})")


def by_thread(site: Site, body: str) -> None:
    script(
        site,
        f"""
        import threading
        thread = threading.Thread(target=send, args=[{body!r}])
        thread.start()
        thread.join()
        """,
    )


def by_shell(site: Site, body: str) -> None:
    site.shell(f"from broadcast import send\nsend({body!r})")


def by_command(site: Site, body: str) -> None:
    site.manage("broadcast", "send", body)


SERVE = """
from wsgiref.simple_server import make_server
from project.wsgi import application
with make_server("127.0.0.1", 0, application) as server:
    print(server.server_port, flush=True)
    server.serve_forever()
"""


def by_wsgi(site: Site, body: str) -> None:
    """A view of `project.wsgi` under the server of the standard library, which serves to the end of the test."""
    server = site.spawn("-c", SERVE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout
    push(f"http://127.0.0.1:{server.stdout.readline().strip()}", body)


WAYS = [by_wsgi, by_script, by_thread, by_shell, by_command]


@pytest.mark.parametrize(("way", "layer"), [(by_wsgi, "core"), *zip(WAYS, cycle(["pubsub", "core"]), strict=False)])
def test_where_the_layer_reaches_nobody_waits_for_a_look_into_the_log(
    way: Callable[[Site, str], None],
    layer: str,
    redis: Redis,
    daphne: Callable[..., Daphne],
    site: Site,
    visit: Callable[..., Client],
) -> None:
    env = {"REDIS_URL": redis.url, "REDIS_LAYER": layer}
    patient = {"DJANGO_SETTINGS_MODULE": "tests.live.host_settings", "BROADCAST": '{"POLL_INTERVAL": 3600}'}
    client = visit(daphne(**patient, **env))
    site.env |= env
    way(site, "hello")
    assert client.hear()["body"] == "hello"


def test_without_a_layer_or_with_another_one_it_arrives_all_the_same(
    server: Daphne, site: Site, visit: Callable[..., Client]
) -> None:
    """In turn with a layer in memory, which reaches nobody else, and with none."""
    client = visit(server)
    for settings, way in product(["project.settings", LAYERLESS], WAYS):
        site.env["DJANGO_SETTINGS_MODULE"] = settings
        way(site, way.__name__)
        assert client.hear()["body"] == way.__name__


@pytest.mark.alone
@pytest.mark.parametrize("module", ["tests.live.host_settings", LAYERLESS])
def test_without_a_hint_it_arrives_in_time(
    daphne: Callable[..., Daphne], site: Site, visit: Callable[..., Client], module: str
) -> None:
    env = {"DJANGO_SETTINGS_MODULE": module, "BROADCAST": '{"HINTS_WITHOUT_LAYER": false}'}
    client = visit(daphne(**env))
    site.env |= env
    sending = site.spawn("manage.py", "broadcast", "send", "from afar")
    message = client.hear()
    took = time.time() - datetime.fromisoformat(message["sent_at"]).timestamp()
    print(f"{took:.2f} s")
    assert message["body"] == "from afar"
    assert took < PROMISED
    assert sending.wait(WAIT) == 0


# Greenlets for threads

IN_GREENLETS = """
from gevent import joinall, monkey, spawn
monkey.patch_all()
import time
import django
django.setup()
from broadcast import send
from broadcast.models import Message

def talk(name):
    for number in range(3):
        send(f"{name}{number}")
        send("typing", persist=False)
        time.sleep(0.05)
        Message.objects.count()

send("one")
time.sleep(0.3)
print(Message.objects.count())
send("two")
joinall([spawn(talk, name) for name in "abc"], raise_error=True)
print(Message.objects.count())
"""


@pytest.mark.parametrize("layer", ["pubsub", "core"])
def test_where_threads_are_greenlets_it_arrives_with_the_next_look_into_the_log(
    layer: str, redis: Redis, daphne: Callable[..., Daphne], site: Site, visit: Callable[..., Client]
) -> None:
    site.env |= {"REDIS_URL": redis.url, "REDIS_LAYER": layer}
    client = visit(daphne(REDIS_URL=redis.url, REDIS_LAYER=layer))
    with site.spawn("-c", IN_GREENLETS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, is_fresh=True) as process:
        told, errors = process.communicate(timeout=WAIT)
    assert (process.returncode, told.split()) == (0, ["1", "11"]), errors
    assert errors.count("gevent has made greenlets of this process's threads") == 1
    heard = [client.hear()["body"] for _ in range(11)]
    assert (heard[:2], set(heard[2:])) == (["one", "two"], {f"{name}{number}" for name in "abc" for number in range(3)})


# A process that sends a lot

COUNT_AND_SEND = """
import asyncio, json, os, threading, time
from broadcast.engine.process import this_process

def used():
    this_process.hints.flush()
    resident = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")),
        "memory": resident,
        "loops": len(loops),
    }

loops = []
new_loop = asyncio.BaseEventLoop.__init__

def counted(loop):
    loops.append(None)
    new_loop(loop)

asyncio.BaseEventLoop.__init__ = counted

def send_some(count):
    for number in range(count):
        send("x" * 100, persist=number % 5 == 0)
        if number % 500 == 0:
            this_process.hints.flush()

send_some(1000)
before = used()
begun = time.perf_counter()
send_some(10000)
seconds = time.perf_counter() - begun
print(json.dumps([before, used(), seconds]))
"""


@pytest.mark.parametrize("layer", ["pubsub", "core"])
def test_ten_thousand_messages_leak_nothing(layer: str, redis: Redis, site: Site) -> None:
    # With DEBUG on, Django keeps the last queries.
    site.env |= {"REDIS_URL": redis.url, "REDIS_LAYER": layer, "DEBUG": "off", "SECRET_KEY": "of-the-tests"}
    opened = connections_opened(redis)
    before, after, seconds = json.loads(script(site, COUNT_AND_SEND))
    print(f"{before} {after}: {seconds / 10:.3f} ms a message, every fifth of them into the log")
    assert [after[name] for name in ("threads", "files", "loops")] == [2, before["files"], 1]
    assert after["memory"] - before["memory"] < 4 * 2**20
    assert connections_opened(redis) - opened < 5


def connections_opened(redis: Redis) -> int:
    """How many connections this Redis has ever had."""
    return int(redis.ask("CLIENT ID").removeprefix(b":"))


SEND_TOGETHER = """
from concurrent.futures import ThreadPoolExecutor
from django.db import connections

def some(name):
    try:
        return [send(f"{name} {number}").offset for number in range(20)]
    finally:
        connections.close_all()

with ThreadPoolExecutor(16) as pool:
    print(sorted(offset for offsets in pool.map(some, range(16)) for offset in offsets))
"""


def test_what_threads_send_at_the_same_time_is_committed_together(fleet_env: dict[str, str], fleet_site: Site) -> None:
    with psycopg.connect(fleet_env["DATABASE_URL"], autocommit=True) as connection:

        def transactions() -> int:
            row = connection.execute("SELECT txid_current()").fetchone()
            assert row
            return int(row[0])

        begun = transactions()
        offsets = json.loads(script(fleet_site, SEND_TOGETHER))
        used = transactions() - begun
    print(f"{len(offsets)} messages in {used} transactions")
    assert offsets == list(range(1, 321))
    assert used < len(offsets) / 2
