"""The public API: four functions, there before Django is."""

import inspect
import subprocess
import sys

import broadcast
from broadcast import api, exceptions
from broadcast.engine.validation import SERVER
from broadcast.groups import DEFAULT_GROUP
from tests.site import ROOT


def test_what_the_package_exports():
    assert broadcast.__all__ == ["asend", "asend_many", "send", "send_many"]
    for name in broadcast.__all__:
        function = getattr(broadcast, name)
        assert function is getattr(api, name)
        assert (function.__module__, function.__name__) == ("broadcast.api", name)
        parameters = inspect.signature(function).parameters
        assert (parameters["group"].default, parameters["author"].default) == (DEFAULT_GROUP, SERVER)
        assert inspect.getdoc(function)


def test_what_can_go_wrong():
    names = [name for name, value in vars(exceptions).items() if isinstance(value, type)]
    assert names == [
        "BroadcastError",
        "Refused",
        "InvalidMessage",
        "LogUnavailable",
        "NoLog",
        "LockTimeout",
        "OutcomeUnknown",
    ]
    assert all(issubclass(getattr(exceptions, name), exceptions.BroadcastError) for name in names)
    assert issubclass(exceptions.InvalidMessage, ValueError)
    assert issubclass(exceptions.OutcomeUnknown, exceptions.LogUnavailable)


def run(code: str) -> str:
    """Prints of a new process that runs ``code``."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_names_may_be_imported_before_django_is():
    assert run("from broadcast import *; import sys; print('django' in sys.modules, send.__name__)") == "False send\n"


def test_a_module_that_imports_send_may_itself_be_imported_while_apps_load(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("from broadcast import send, send_many, asend, asend_many\n")
    (tmp_path / "shop" / "models.py").write_text("from broadcast import send\n")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["shop", "django.contrib.auth", "django.contrib.contenttypes", "broadcast"],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {str(tmp_path / "db.sqlite3")!r}}}}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
import asyncio
import shop.models
import broadcast
assert shop.send is shop.models.send is broadcast.send
print(shop.send("a").offset, asyncio.run(shop.asend("b")).offset, shop.send_many(["c"])[0].offset)
"""
    assert run(code) == "1 2 3\n"
