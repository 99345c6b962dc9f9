"""What all tests share: the host site as real processes, and a real browser."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from asgiref.sync import SyncToAsync
from django.core.management.color import no_style
from django.db import connections
from django.test import TransactionTestCase
from hypothesis import settings as hypothesis

from broadcast.pytest_plugin import broadcasts  # noqa: F401 (which pytest knows by itself where that is installed)
from tests.site import Daphne, Site

pytest_plugins = ["tests.services", "tests.chromium"]

ADaphne = TypeVar("ADaphne", bound=Daphne)

# The same examples in every run; `--hypothesis-profile=long` looks for others.
hypothesis.register_profile("short", derandomize=True, deadline=None, database=None)
hypothesis.register_profile("long", max_examples=2000, deadline=None)
hypothesis.load_profile("short")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keeps the test database where pytest cleans up: Django removes the file and leaves its write-ahead log."""
    database = connections["default"]
    if database.vendor == "sqlite":
        database.settings_dict["TEST"]["NAME"] = tmp_path_factory.mktemp("django") / "test.sqlite3"


KEPT = {"auth_permission", "django_content_type", "django_migrations"}  # tables that migrations filled


def empty_tables(case: TransactionTestCase) -> None:
    for name in case._databases_names(include_mirrors=False):
        database = connections[name]
        tables = set(database.introspection.django_table_names(only_existing=True, include_views=False)) - KEPT
        database.ops.execute_sql_flush(database.ops.sql_flush(no_style(), sorted(tables)))


@pytest.fixture(scope="session", autouse=True)
def quick_flush() -> Iterator[None]:
    """Leaves permissions and content types where they are after a test: Django makes all of them anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty_tables)
        yield


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables and no rows, to be copied and not to be opened."""
    return Site.migrated(tmp_path_factory.mktemp("database"))


@pytest.fixture(autouse=True)
def new_process() -> Iterator[None]:
    """Each test begins like a process that has just been started."""
    from broadcast.engine.process import this_process

    this_process.reset()
    yield
    this_process.hints.flush()
    # The thread in which async tests use the database outlives them; its connection need not.
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    """Signing in costs a real hasher a million rounds."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def database(migrated_database: Path, tmp_path: Path) -> Path:
    """The database that this test's processes share, with all tables."""
    return Path(shutil.copy(migrated_database, tmp_path / "site.sqlite3"))


@pytest.fixture
def site(database: Path) -> Iterator[Site]:
    """Commands against this test's database: `site.manage(…)` waits for the end, `site.spawn(…)` does not."""
    site = Site(database)
    yield site
    site.end()


@pytest.fixture
def serving() -> Iterator[Callable[[ADaphne], ADaphne]]:
    """`serving(server)` starts a server, which ends with the test. When that fails, what the server said is shown."""
    servers: list[Daphne] = []

    def serve(server: ADaphne) -> ADaphne:
        servers.append(server)
        server.start()
        return server

    yield serve
    for server in servers:
        server.end()
        print(f"--- daphne on port {server.port}\n{server.log}")


@pytest.fixture
def daphne(serving: Callable[[Daphne], Daphne], database: Path) -> Callable[..., Daphne]:
    """`daphne()` starts a server; keywords set its environment, `database=` another SQLite file.

    All servers and commands of a test share one database.
    """
    return lambda *, database=database, **env: serving(Daphne(database, **env))


@pytest.fixture
def server(daphne: Callable[..., Daphne]) -> Daphne:
    return daphne()


@pytest.fixture
def visit() -> Iterator[Callable[..., Any]]:
    """`visit(server)` connects a client; a query other than `?v=1` and options of `connect` may follow."""
    from tests.kit.clients import visitors

    yield from visitors()
