"""The wheel, in a site that `django-admin startproject` has just made, by the README's steps as they are written."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.kit.clients import WELCOME
from tests.live.reader import SECONDS, WAIT, Reader, announce, steps
from tests.site import ROOT, free_port


@pytest.fixture
def new_site(wheels: Path, tmp_path: Path) -> Iterator[Reader]:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=SECONDS)
    pip = {"PIP_FIND_LINKS": str(wheels), "PIP_NO_COMPILE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    site = Reader(tmp_path, environment / "bin", **pip)
    yield site
    site.end()


def test_the_wheel_holds_the_app_and_nothing_else(wheels):
    (wheel,) = wheels.glob("django_live_broadcast-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packed = {name for name in names if ".dist-info/" not in name}
    kept = {str(path.relative_to(ROOT)) for path in (ROOT / "broadcast").rglob("*") if path.is_file()}
    assert packed == {name for name in kept if "__pycache__" not in name}
    for needed in ("templates/broadcast/chat.html", "static/broadcast/feed.js", "migrations/0001_log.py", "py.typed"):
        assert f"broadcast/{needed}" in packed
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_a_new_site_by_the_readmes_steps(new_site: Reader, browser: Browser, visit):
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    shell_lines: list[str] = []
    for how, name, text in steps("README.md"):
        if how == "install":
            new_site.run(text)
            new_site.run("django-admin startproject mysite")
        elif how in ("append", "file"):
            new_site.write(how, name, text)
        elif how == "run":
            served = [line for line in text.splitlines() if line.endswith("runserver")]
            commands = [line for line in text.splitlines() if line not in served]
        elif how == "shell":
            shell_lines += text.splitlines()
        else:
            assert (how, name) == ("body", "templates/base.html")  # which a new site has not
    for command in commands:
        new_site.run(command)
    new_site.set_up()
    (runserver,) = served
    new_site.serve(f"{runserver} {port}", origin)
    assert "daphne" in new_site.log.read_text().lower()

    reader = browser.new_page()
    reader.goto(f"{origin}/broadcast/")
    expect(reader.locator("broadcast-feed")).to_have_attribute("data-state", "live", timeout=WAIT)

    writer = browser.new_page()
    announce(writer, origin, "/admin/", "Hello from the admin")
    sees(reader, "Hello from the admin")

    writer.goto(f"{origin}/lunch/")
    expect(writer.locator("body")).to_have_text("Sent.", timeout=WAIT)
    sees(reader, "Lunch is ready")

    for command in shell_lines:
        new_site.run(command)
    sees(reader, "The site restarts at noon")
    new_site.run("""python manage.py shell -c "from broadcast import send; send('Hello from the shell')" """)
    sees(reader, "Hello from the shell")

    writer.goto(f"{origin}/broadcast/")
    writer.fill("textarea", "Hello from a user")
    writer.press("textarea", "Enter")
    sees(reader, "Hello from a user")
    reader.reload()
    sees(reader, "Hello from the admin")
    assert "Traceback" not in new_site.log.read_text()
    for page in (reader, writer):
        page.close()

    port = free_port()
    new_site.serve(f"daphne -p {port} mysite.asgi:application", f"http://127.0.0.1:{port}/")
    assert visit(f"ws://127.0.0.1:{port}/ws", "").welcome == WELCOME


def sees(page: Page, text: str) -> None:
    row = page.locator("[data-messages] [data-body]", has_text=text)
    expect(row).to_have_count(1, timeout=WAIT)
