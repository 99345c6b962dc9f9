"""The npm package, as a site gets it: packed, unpacked beside a small app, type-checked, bundled and run."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from .conftest import complaints_of
from .node import MODULES, ROOT, run
from .pages import HERE, Site

pytestmark = pytest.mark.usefixtures("node_tools")

OPTIONS = {
    "strict": True,
    "noEmit": True,
    "jsx": "react-jsx",
    "lib": ["es2023", "dom", "dom.iterable"],
    "target": "es2022",
    "types": [],
}
HTML = '<!doctype html><title>app</title><link rel="stylesheet" href="/app.css"><body><script src="/app.js"></script>'
RUN = """() => ({
  defined: ["broadcast-announcements", "broadcast-feed"].filter((name) => customElements.get(name)),
  clients: [...globalThis[Symbol.for("django-live-broadcast")].clients.values()].map((one) => one === client),
  states: [...document.querySelectorAll("[data-state]")].length > 0,
})"""


@pytest.fixture(scope="module")
def app(node_tools: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site's sources, with the package in its `node_modules`."""
    path = tmp_path_factory.mktemp("npm") / "app"
    shutil.copytree(HERE / "app", path)
    (path / "package.json").write_text('{"type": "module"}')
    modules = path / "node_modules"
    modules.mkdir()
    (modules / "@types").symlink_to(MODULES / "@types")
    packed = run("npm", "pack", "--silent", "--pack-destination", path)
    assert packed.returncode == 0, packed.stderr
    with tarfile.open(path / packed.stdout.split()[-1]) as archive:
        archive.extractall(modules, filter="data")
    (modules / "package").rename(modules / "django-live-broadcast")
    return path


@pytest.mark.parametrize(("module", "resolution"), [("esnext", "bundler"), ("nodenext", "nodenext")])
def test_typescript_takes_what_is_right_and_refuses_what_is_wrong(app: Path, module: str, resolution: str) -> None:
    options = OPTIONS | {"module": module, "moduleResolution": resolution}
    (app / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["*.ts", "*.tsx"]}))
    checked = run("tsc", "--project", app)
    assert (checked.stdout, checked.returncode) == ("", 0)


def test_a_bundle_defines_the_elements_and_has_one_client_for_all(app: Path, files: Site, browser: Browser) -> None:
    bundled = run("esbuild", "app.ts", "--bundle", "--outdir=built", "--log-level=warning", cwd=app)
    assert (bundled.stderr, bundled.returncode) == ("", 0)
    files.pages |= {f"/{file.name}": file.read_text(encoding="utf-8") for file in (app / "built").iterdir()}
    files.pages["/app"] = HTML
    page = browser.new_page()
    complaints = complaints_of(page)
    page.goto(f"{files.address}/app")
    found = page.evaluate(RUN)
    page.close()
    assert found == {"defined": ["broadcast-announcements", "broadcast-feed"], "clients": [True], "states": True}
    assert complaints == []


def test_all_that_package_json_names_is_in_the_package(app: Path) -> None:
    package = app / "node_modules" / "django-live-broadcast"
    exports = json.loads((package / "package.json").read_text(encoding="utf-8"))["exports"]
    named = {path for export in exports.values() for path in export.values() if "*" not in path}
    assert named
    assert [path for path in sorted(named) if not (package / path).is_file()] == []
    assert not (package / "broadcast" / "static" / "broadcast" / "base.css").exists()


EXACT = re.compile(r"(npm:[\w.@/-]+@)?\d+\.\d+\.\d+")


def test_versions_are_exact_and_the_lock_names_no_registry() -> None:
    needed = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert [f"{name} {version}" for name, version in needed.items() if not EXACT.fullmatch(version)] == []
    assert [name for name, entry in lock.items() if "resolved" in entry] == []
    assert [name for name, entry in lock.items() if name and "integrity" not in entry] == []
