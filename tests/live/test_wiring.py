"""Everything that works because something is imported, in processes that import nothing by themselves.

The wheel is installed beside a site that `django-admin startproject` has just made, and that site is asked.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.reader import SECONDS
from tests.site import ROOT, SITE_VARIABLES, Site

SETTINGS = {
    "sound": """
INSTALLED_APPS = ["daphne", *INSTALLED_APPS, "broadcast"]
ASGI_APPLICATION = "mysite.asgi.application"
CHANNEL_LAYERS = {"default": {"BACKEND": "mysite.layer.Kept"}}
DATABASES["default"]["OPTIONS"] = {"init_command": "PRAGMA journal_mode=WAL"}
""",
    "fresh": """
INSTALLED_APPS = ["daphne", *INSTALLED_APPS, "broadcast"]
ASGI_APPLICATION = "mysite.asgi.application"
BROADCAST = {"TYPO": 1, "GROUPS": {"a b": 3}}
""",
    "no_dict": """
INSTALLED_APPS = [*INSTALLED_APPS, "broadcast"]
BROADCAST = ["MAX_BODY"]
""",
    "wrong": """
INSTALLED_APPS = [*INSTALLED_APPS, "daphne", "broadcast"]
ASGI_APPLICATION = "mysite.asgi.application"
CHANNEL_LAYERS = {"spare": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
BROADCAST = {
    "MAX_BODDY": 1,
    "MAX_DATA": "4000",
    "POLICY": "mysite.nowhere.may",
    "AUTHOR": "mysite.nowhere.name",
    "LIMITS": {"PROXY": 1, "MESSAGE_BURST": 0},
    "GROUPS": {
        "two words": {},
        "news": "anyone",
        "lobby": {"subscribes": "anyone", "publish": "everyone", "subscribe": "self", "keep_messages": 0},
    },
}
""",
    "open": """
INSTALLED_APPS = ["daphne", *INSTALLED_APPS, "broadcast"]
ASGI_APPLICATION = "mysite.asgi.application"
DEBUG, ALLOWED_HOSTS = False, ["localhost"]
SILENCED_SYSTEM_CHECKS = ["mail.E001"]  # Django 6.1's, of the mail that startproject sets up
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
BROADCAST = {"GROUPS": {"lobby": {"publish": "anyone"}}, "HINTS_WITHOUT_LAYER": False}
USE_X_FORWARDED_HOST = True
STATIC_URL = "https://static.example.org/"
""",
}

PROMISED = [
    ("no_dict", "E001", "BROADCAST must be a dict, not ['MAX_BODY'] (list)."),
    ("wrong", "E002", "BROADCAST has no setting 'MAX_BODDY'. HINT: Did you mean 'MAX_BODY'?"),
    ("wrong", "E003", """BROADCAST["MAX_DATA"] must be a positive whole number of bytes, not '4000' (str)."""),
    ("wrong", "E004", """BROADCAST["GROUPS"] names a group 'two words', which no group can be called."""),
    ("wrong", "E005", """BROADCAST["GROUPS"]["news"] must be a dict, not 'anyone' (str)."""),
    ("wrong", "E006", """BROADCAST["GROUPS"]["lobby"] has a key 'subscribes', which rules do not have."""),
    ("wrong", "E007", """["lobby"]["publish"] must be a word for who may publish, not 'everyone' (str)."""),
    ("wrong", "E008", """BROADCAST["GROUPS"]["lobby"]["subscribe"] is "self", which allows nobody here."""),
    ("wrong", "E009", """["lobby"]["keep_messages"] must be a positive whole number of messages, or None for no"""),
    ("wrong", "E010", "daphne comes after django.contrib.staticfiles in INSTALLED_APPS"),
    ("wrong", "E011", """CHANNEL_LAYERS has no 'default', which BROADCAST["CHANNEL_LAYER"] says to use."""),
    ("wrong", "E012", """BROADCAST["POLICY"] cannot be imported: No module named 'mysite.nowhere'"""),
    ("wrong", "E013", """BROADCAST["LIMITS"] has no key 'PROXY'. HINT: Did you mean 'PROXIES'?"""),
    (
        "wrong",
        "E014",
        """BROADCAST["LIMITS"]["MESSAGE_BURST"] must be a positive whole number of messages, not 0 (int).""",
    ),
    ("wrong", "E015", """BROADCAST["AUTHOR"] cannot be imported: No module named 'mysite.nowhere'"""),
    ("no_dict", "W001", "ASGI_APPLICATION is not set, and daphne's runserver does not start without it."),
    ("no_dict", "W002", "daphne is not in INSTALLED_APPS, so runserver speaks no WebSocket."),
    ("open", "W003", "The channel layer 'default' is in memory and HINTS_WITHOUT_LAYER is False: what another"),
    ("open", "W004", "The SQLite database 'default' has no write-ahead log"),
    ("open", "W005", """BROADCAST["GROUPS"]["lobby"]["publish"] is "anyone": every visitor may publish"""),
    ("open", "W006", """BROADCAST["LIMITS"]["PROXIES"] does not say how many proxies are in front of this site"""),
    ("open", "I001", "Static files come from another origin (static.example.org)."),
    ("fresh", "E002", "BROADCAST has no setting 'TYPO'."),
    ("fresh", "E004", """BROADCAST["GROUPS"] names a group 'a b', which no group can be called."""),
    ("fresh", "E005", """BROADCAST["GROUPS"]["a b"] must be a dict, not 3 (int)."""),
]

# A layer as to other processes, which keeps what it is sent.
LAYER = """
from queue import Queue

from channels.layers import BaseChannelLayer

sent = Queue()

class Kept(BaseChannelLayer):
    def __init__(self, **kwargs):
        super().__init__()

    async def group_send(self, group, message):
        sent.put((message["type"], message.get("users")))
"""

Run = Callable[..., str]


@pytest.fixture(scope="module")
def home(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new site, with a module of settings for each of ``SETTINGS``; the wheel is in ``installed`` beside it."""
    home = tmp_path_factory.mktemp("home")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "--target", home / "installed", wheel], check=True, timeout=SECONDS)
    subprocess.run([sys.executable, "-m", "django", "startproject", "mysite", home], check=True, timeout=SECONDS)
    made = (home / "mysite" / "settings.py").read_text()
    for name, lines in SETTINGS.items():
        (home / "mysite" / f"{name}.py").write_text(made + lines)
    (home / "mysite" / "layer.py").write_text(LAYER)
    return home


@pytest.fixture(scope="module")
def run(home: Path) -> Run:
    """`run("-m", "pytest")` runs Python in the site and returns all that it said."""
    kept = {name: value for name, value in os.environ.items() if name not in SITE_VARIABLES}
    env = {name: value for name, value in kept.items() if not name.startswith("COVERAGE_")}  # the copy is not measured

    def ran(*args: str, settings: str = "sound", status: int = 0) -> str:
        names = {"PYTHONPATH": str(home / "installed"), "DJANGO_SETTINGS_MODULE": f"mysite.{settings}"}
        command = [sys.executable, "-W", "error", *args]
        done = subprocess.run(command, cwd=home, env=env | names, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    return ran


@pytest.fixture(scope="module")
def said(run: Run) -> dict[str, str]:
    """All that `manage.py check` says of each site with mistakes, in one line."""
    options = {"open": ["--deploy", "--database", "default"]}
    return {
        name: " ".join(run("manage.py", "check", *options.get(name, []), settings=name, status=name != "open").split())
        for name in SETTINGS
        if name != "sound"
    }


@pytest.mark.parametrize(("kind", "rule", "sentence"), PROMISED, ids=lambda value: value[:5])
def test_what_is_wrong_is_said_by_check(said, kind, rule, sentence):
    found = re.findall(rf"\(broadcast\.{rule}\) (.*?)(?= \?: \(|$)", said[kind])
    assert any(sentence in text for text in found), said[kind]


@pytest.mark.parametrize("kind", sorted({kind for kind, _, _ in PROMISED}))
def test_nothing_else_is_said(said, kind):
    promised = {rule for name, rule, _ in PROMISED if name == kind}
    assert set(re.findall(r"\(broadcast\.(\w+)\)", said[kind])) == promised


def test_each_id_of_the_docs_is_provoked():
    explained = re.findall(r"^## `broadcast\.([EWI]\d{3})`", (ROOT / "docs" / "checks.md").read_text(), re.MULTILINE)
    assert sorted({rule for _, rule, _ in PROMISED}) == sorted(explained)


def test_a_sound_site_passes(run):
    assert "no issues" in run("manage.py", "check", "--tag", "broadcast", "--deploy", "--database", "default")


def test_the_open_demo_is_warned_of_its_open_groups(site: Site):
    warned = site.manage("check", "--deploy").stderr
    for action in ("publish", "announce"):
        assert f'(broadcast.W005) BROADCAST["GROUPS"]["broadcast"]["{action}"] is "anyone"' in warned


@pytest.fixture(scope="module")
def migrated(run: Run) -> None:
    run("manage.py", "migrate", "--verbosity", "0")


SAVE_AND_SIGN_OUT = """
from django.contrib.auth.models import User
from django.test import Client
from mysite.layer import sent
ann = User.objects.create_user("ann")
ann.save()
print(sent.get(timeout=60))
client = Client()
client.force_login(ann)
client.logout()
print(sent.get(timeout=60))
"""


@pytest.mark.usefixtures("migrated")
def test_who_may_have_lost_rights_is_told_to_other_processes(run):
    told = run("manage.py", "shell", "-v", "0", "-c", SAVE_AND_SIGN_OUT)
    assert told.splitlines() == ["('broadcast.revoke', ['1'])"] * 2


HEAR_OF_A_SIGN_OUT = """
import asyncio
from asgiref.sync import sync_to_async
from broadcast.asgi import with_broadcast
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.core.asgi import get_asgi_application
from django.test import Client

application = with_broadcast(get_asgi_application())
from broadcast.access import revalidation
assert revalidation.PASS_SECONDS
revalidation.PASS_SECONDS = 3600.0  # only what is told ends anything

async def main():
    client = Client()
    await sync_to_async(client.force_login)(await User.objects.acreate(username="bob"))
    cookie = f"sessionid={client.cookies['sessionid'].value}".encode()
    headers = [(b"cookie", cookie), (b"host", b"localhost"), (b"origin", b"http://localhost")]
    socket = WebsocketCommunicator(application, "/ws?v=1&join=none", headers=headers)
    assert (await socket.connect(timeout=60))[0]
    await sync_to_async(client.logout)()
    while (event := await socket.receive_output(timeout=60))["type"] != "websocket.close":
        pass
    print(event["code"])

asyncio.run(main())
"""


@pytest.mark.usefixtures("migrated")
def test_a_process_with_connections_hears_of_it(run):
    assert run("manage.py", "shell", "-v", "0", "-c", HEAR_OF_A_SIGN_OUT, settings="open") == "4004\n"


OFFERED = """
from importlib.metadata import entry_points
from django.contrib import admin
from django.core.management import get_commands
from django.http import HttpRequest
from django.template import engines
print(sorted(model.__name__ for model in admin.site._registry if model._meta.app_label == "broadcast"))
print(get_commands()["broadcast"])
print([point.value for point in entry_points(group="pytest11") if point.name == "broadcast"])
tags = "{% load broadcast %}{% broadcast_feed 'nobodys' %}."
print(engines["django"].from_string(tags).render(request=HttpRequest()))
"""


def test_admin_command_entry_point_and_tags_are_there(run):
    offered = run("manage.py", "shell", "-v", "0", "-c", OFFERED)
    assert offered.splitlines() == ["['Group', 'Message']", "broadcast", "['broadcast.pytest_plugin']", "."]


def test_pytest_offers_the_fixture(run, home):
    (home / "test_sending.py").write_text(
        "from broadcast import send\n\ndef test(broadcasts):\n    send('x')\n    assert len(broadcasts) == 1\n"
    )
    scope = "asyncio_default_fixture_loop_scope=function"
    assert "1 passed" in run("-m", "pytest", "-p", "no:cacheprovider", "-o", scope, "test_sending.py")
