"""docs/http.md, run as it stands: its commands, its script and its middleware."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kit.clients import WAIT
from tests.site import ROOT, Daphne, Site

DOCS = (ROOT / "docs" / "http.md").read_text()
ADDRESS = "http://127.0.0.1:8000"
COMMANDS = re.findall(r"^```sh\n(curl [^\n]*)\n```\n[^`]*```json\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
FILES = re.findall(r"^<!-- file: (\S+) -->\n```python\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
(SCRIPT,) = re.findall(r"^```python\n(import json\n.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
TOKEN = "a long random text"


@pytest.fixture
def server(daphne: Callable[..., Daphne], tmp_path: Path, site: Site) -> Daphne:
    """The demo, with the middleware that the page shows and the users that it speaks of."""
    for name, text in FILES:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    site.shell(USERS)
    return daphne(
        DJANGO_SETTINGS_MODULE="tests.live.http_settings",
        PYTHONPATH=str(tmp_path),
        TOKEN_HASH=hashlib.sha256(TOKEN.encode()).hexdigest(),
    )


USERS = """
from django.contrib.auth.models import User
User.objects.create_user("monitor")
User.objects.create_user("ann", password="secret")
"""


def curl(server: Daphne, command: str) -> Any:
    """What a command of the page prints; it runs in a shell, as a reader's would."""
    if not shutil.which("curl"):
        pytest.skip("needs curl")
    command = command.replace(ADDRESS, server.url).replace("curl ", "curl --silent --show-error --noproxy '*' ")
    done = subprocess.run(
        ["sh", "-c", command], env=server.env | {"TOKEN": TOKEN}, capture_output=True, text=True, timeout=WAIT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def comparable(value: Any) -> Any:
    """An answer, with a mark in place of what differs from one run to the next."""
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, dict):
        varies = {"epoch", "ref", "sent_at"} & {name for name, item in value.items() if item}
        return {name: "…" if name in varies else comparable(item) for name, item in value.items()}
    return value


def test_the_commands_and_the_script(server, visit, tmp_path):
    assert len(COMMANDS) == DOCS.count("\ncurl ") == 7
    listener = visit(server, "")
    for command, answer in COMMANDS[:-1]:
        assert comparable(curl(server, command)) == comparable(json.loads(answer))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace(ADDRESS, server.url))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=WAIT)
    assert (done.stdout, done.stderr) == ("3 Script Good morning\n", "")
    command, answer = COMMANDS[-1]
    assert comparable(curl(server, command)) == comparable(json.loads(answer))
    assert listener.hear_until("Load is high") == ["The backup is done", "Disk is full", "Good morning", "Load is high"]


def test_signing_in_by_request(server):
    command = f"curl {ADDRESS}/broadcast/ -d body=hi "
    assert curl(server, command + "--user ann:secret")["author"] == "ann"
    assert curl(server, command + "--user ann:wrong")["body"] == "Wrong name or password."
    assert curl(server, command + "--header 'Authorization: Basic ?'")["body"] == "Wrong name or password."
    assert curl(server, command + "--header 'Authorization: Bearer wrong'")["body"] == "This token is not known."
    assert curl(server, command)["author"] == "Guest"
