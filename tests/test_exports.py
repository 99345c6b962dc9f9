"""The public API: four functions, there before Django is."""

import subprocess
import sys

import pytest

import broadcast
from broadcast.engine import publish as publishing
from tests.site import ROOT


def test_what_the_package_exports():
    assert broadcast.__all__ == ["asend", "asend_many", "send", "send_many"]
    for name in broadcast.__all__:
        assert getattr(broadcast, name) is getattr(publishing, name)
        assert name in dir(broadcast)


def test_what_it_does_not_export():
    with pytest.raises(AttributeError, match="module 'broadcast' has no attribute 'shout'"):
        _ = broadcast.shout


def test_what_can_go_wrong():
    from broadcast import exceptions

    names = [name for name, value in vars(exceptions).items() if isinstance(value, type)]
    assert names == ["BroadcastError", "InvalidMessage", "LogUnavailable", "OutcomeUnknown"]
    assert issubclass(exceptions.OutcomeUnknown, exceptions.LogUnavailable)


def run(code: str) -> str:
    """What a new process prints that runs ``code``."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_name_may_be_imported_before_django_is_configured():
    assert run("from broadcast import send, asend, send_many, asend_many; print(callable(send))") == "True\n"


def test_the_package_may_be_imported_before_django_is_configured():
    assert run("import broadcast, sys; print('django' in sys.modules)") == "False\n"


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
import shop
import asyncio
print(shop.send("a").offset, asyncio.run(shop.asend("b")).offset, shop.send_many(["c"])[0].offset)
"""
    assert run(code) == "1 2 3\n"
