"""A reader of the docs: a site of somebody else's, and the steps of a page done in it as they are written."""

import os
import re
import shlex
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from playwright.sync_api import Page

from tests.chromium import sign_in
from tests.site import ROOT, SITE_VARIABLES

STEP = re.compile(r"^<!-- (\w+)(?:: (\S+))? -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS = 300  # for pip, on a machine that is busy
WAIT = 60_000  # milliseconds that the browser waits


def steps(page: str) -> list[tuple[str, str, str]]:
    """The marked blocks of a page, in order: what to do, with which file, and the text."""
    return STEP.findall((ROOT / page).read_text())


class Reader:
    """Somebody who does in a directory of their own, with a Python of their own, what a page says."""

    def __init__(self, directory: Path, programs: Path, **env: str) -> None:
        self.home = directory
        self.root = directory / "mysite"
        inherited = {name: value for name, value in os.environ.items() if name not in SITE_VARIABLES}
        self.env = inherited | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SUPERUSER_PASSWORD": "secret",
            **env,
        }
        self.servers: list[subprocess.Popen[bytes]] = []
        self.log = directory / "server.log"

    def run(self, command: str) -> str:
        """Runs one line of a page, in the site's directory."""
        where = self.root if self.root.exists() else self.home
        done = subprocess.run(
            shlex.split(command), cwd=where, env=self.env, capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def write(self, how: str, name: str, text: str) -> None:
        path = self.root / name
        if how == "append":
            text = f"{path.read_text()}\n{text}"
        elif how == "body":
            text = path.read_text().replace("</body>", f"{text}</body>")
        elif how == "file":
            assert not path.exists()
        path.write_text(text)

    def serve(self, command: str, address: str) -> None:
        """Starts a server, in a process group of its own, and returns when it answers."""
        with self.log.open("ab") as log:
            server = subprocess.Popen(
                shlex.split(command), cwd=self.root, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        self.servers.append(server)
        while not answers(address):
            assert server.poll() is None, self.log.read_text()

    def set_up(self) -> None:
        """Makes the tables and a superuser, and finds nothing to complain of."""
        self.run("python manage.py migrate --verbosity 0")
        assert self.run("python manage.py check").startswith("System check identified no issues")
        assert self.run("python manage.py makemigrations --check --dry-run") == "No changes detected\n"
        self.run("python manage.py createsuperuser --noinput --username ann --email ann@example.org")

    def end(self) -> None:
        for server in self.servers:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        self.servers.clear()
        if self.log.exists():
            print(self.log.read_text())


def answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=10).close()
    except urllib.error.HTTPError as error:
        error.close()
    except OSError:
        return False
    return True


def announce(page: Page, url: str, admin: str, body: str) -> None:
    """Signs in to the admin as the superuser, and sends a message there."""
    sign_in(page, url, admin, admin)
    page.goto(f"{url}{admin}broadcast/message/add/")
    page.fill("[name=body]", body)
    page.click("[name=_save]")
