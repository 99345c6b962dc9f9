"""What has changed since a mark: all that was committed is named once, however late, and what went back is noticed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import F

from broadcast.engine.process import this_process
from broadcast.engine.storage.changes import Mark
from broadcast.models import Group, Message
from tests.engine.storage.test_locks import open_elsewhere
from tests.kit.log import appended, leave_waiting
from tests.kit.streams import draft

pytestmark = [pytest.mark.log_contract, pytest.mark.django_db(transaction=True)]

only_on_postgresql = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="About PostgreSQL")
only_on_sqlite = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="About SQLite")


class Watcher:
    """Whoever asks again and again, each time from the mark that it was given."""

    def __init__(self) -> None:
        self.mark: Mark | None = None

    def news(self) -> set[str] | None:
        found = this_process.log.changes(self.mark)
        assert found is not None
        self.mark = found.mark
        return found.names


@pytest.fixture
def watcher() -> Watcher:
    """One that has asked before; there are messages in three groups, the newest in the last."""
    for group in "abc":
        appended("1", "2", group=group)
    watcher = Watcher()
    assert watcher.news() is None
    return watcher


def put_back(number: int) -> None:
    """What a restored backup does: the rows have the numbers that they had then."""
    Group.objects.update(changed=F("changed") - number)


def delete_newest() -> None:
    Group.objects.get(name="c").delete()


ACTS: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "nothing": (lambda: None, set()),
    "a message": (lambda: appended("x", group="a"), {"a"}),
    "another in the newest": (lambda: appended("x", group="c"), {"c"}),
    "a first one": (lambda: appended("x", group="new"), {"new"}),
    "many at once": (lambda: this_process.log.append([draft(group=name) for name in "bcxyz"]), {*"bcxyz"}),
    "another epoch": (lambda: this_process.log.renew("b"), {"b"}),
    "a lost tail": (lambda: this_process.log.renew_epoch("b", this_process.log.head("b").epoch, 9), {"b"}),
    "erased": (lambda: this_process.pruning.erase("a"), {"a"}),
    "pruned": (lambda: this_process.pruning.prune("a", 1, None), {"a"}),
}


@pytest.mark.parametrize("act", ACTS)
def test_what_happens_is_named_once(watcher, act):
    do, expected = ACTS[act]
    do()
    assert [watcher.news(), watcher.news()] == [expected, set()]


def test_an_empty_log_is_told_from_one_in_which_something_began():
    watcher = Watcher()
    assert [watcher.news(), watcher.news()] == [None, set()]
    appended("x", group="new")
    assert [watcher.news(), watcher.news()] == [{"new"}, set()]


def test_what_waits_is_named_until_it_is_sequenced(watcher):
    leave_waiting(draft(group="b"), draft(group="void"), draft(group="void"), draft(group="b"))
    assert [watcher.news() for _ in range(2)] == [{"b", "void"}] * 2
    for group in ("b", "void"):
        this_process.log.sequence(group)
    assert [watcher.news(), watcher.news()] == [{"b", "void"}, set()]


def append_as_the_log_does(group: str) -> None:
    """In a transaction that is open already, and isolated as the log's own are."""
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    appended("x", group=group)


@only_on_postgresql
@pytest.mark.parametrize("first", ["begun first", "begun last"])
def test_a_late_commit_is_not_missed_whichever_of_two_it_is(watcher, first):
    """The marks of rows are not in the order in which they can be seen."""
    with (
        open_elsewhere(lambda: append_as_the_log_does("a")) as old,
        open_elsewhere(lambda: append_as_the_log_does("b")) as new,
    ):
        assert watcher.news() == set()
        (early, name), (late, other) = [(old, "a"), (new, "b")][:: 1 if first == "begun first" else -1]
        early.going_on.set()
        early.join()
        appended("x", group="c")
        assert [watcher.news(), watcher.news()] == [{name, "c"}, set()]
        late.going_on.set()
        late.join()
        assert [watcher.news(), watcher.news()] == [{other}, set()]


@only_on_postgresql
@pytest.mark.parametrize("how", ["TRUNCATE broadcast_group", "VACUUM FULL broadcast_group"])
def test_another_table_in_its_place_is_noticed(watcher, how):
    with connection.cursor() as cursor:
        cursor.execute(how)
    assert [watcher.news(), watcher.news()] == [None, set()]
    appended("x", group="new")
    assert watcher.news() == {"new"}


WENT_BACK: dict[str, Callable[[], Any]] = {
    "the newest deleted": lambda: delete_newest(),
    "everything deleted": lambda: Group.objects.all().delete(),
    "the newest deleted, and its number given": lambda: (delete_newest(), appended("x", group="a")),
    "the newest there again, and its number given before": lambda: (
        delete_newest(),
        [appended("x", group=group) for group in "ac"],
    ),
    "put back": lambda: put_back(1),
    "put back and written beyond": lambda: (put_back(2), appended("x", group="a"), appended("x", group="b")),
    "numbers lost": lambda: Group.objects.update(changed=None),
}


@only_on_sqlite
@pytest.mark.parametrize("how", WENT_BACK)
def test_numbers_that_went_back_hide_nothing(watcher, how):
    WENT_BACK[how]()
    assert watcher.news() in (None, {"a", "c"})
    assert watcher.news() == set()
    appended("x", group="b")
    assert watcher.news() == {"b"}


def test_a_mark_from_elsewhere_is_not_news_for_ever(watcher):
    Group.objects.filter(name="a").update(changed=10**15)
    assert watcher.news() == ({"a"} if connection.vendor == "sqlite" else set())
    assert watcher.news() == set()
    for group in "ba":
        appended("x", group=group)
        assert [watcher.news(), watcher.news()] == [{group}, set()]


def test_who_writes_no_marks_is_no_news_and_disturbs_nobody(watcher):
    Group.objects.bulk_create(Group(name=name, epoch="e", changed=number) for name, number in [("d", None), ("e", 1)])
    group = Group.objects.create(name="f", epoch="e")
    group.save()
    assert watcher.news() == set()
    assert set(Group.objects.filter(changed__lte=1).values_list("name", flat=True)) >= {"e"}
    appended("x", group="d")
    assert watcher.news() == {"d"}


def test_groups_go_into_a_fixture_and_come_back(watcher, tmp_path: Path):
    """Also into another database, whose marks are others."""
    fixture = tmp_path / "groups.json"
    call_command("dumpdata", "broadcast", output=str(fixture), verbosity=0)
    rows = json.loads(fixture.read_text())
    groups = [row["fields"] for row in rows if row["model"] == "broadcast.group"]
    assert all(isinstance(fields["changed"], int) for fields in groups)
    groups[0]["changed"], groups[1]["changed"] = None, 10**15
    fixture.write_text(json.dumps(rows))
    Message.objects.all().delete()
    Group.objects.all().delete()
    call_command("loaddata", str(fixture), verbosity=0)
    assert sorted(Group.objects.values_list("head", flat=True)) == [2, 2, 2]
    watcher.news()
    assert appended("x", group="a")[0].offset == 3
    assert [watcher.news(), watcher.news()] == [{"a"}, set()]


def test_a_database_that_cannot_tell_says_so(watcher, monkeypatch):
    monkeypatch.setattr(type(connection._connections[connection._alias]), "vendor", "another")
    assert this_process.log.changes(watcher.mark) is None
    appended("x", group="new")
    assert Group.objects.get(name="new").changed is None


def test_rows_from_before_there_were_marks_get_them_as_they_change():
    def migrate(name: str) -> Any:
        executor = MigrationExecutor(connection)
        return executor.migrate([("broadcast", name)]).apps.get_model("broadcast", "Group")

    try:
        migrate("0005_refs_of_users_alone").objects.create(name="old", epoch="e", head=7)
    finally:
        [newest] = [name for app, name in MigrationExecutor(connection).loader.graph.leaf_nodes("broadcast")]
        migrate(newest)
    watcher = Watcher()
    assert (watcher.news(), Group.objects.get(name="old").changed) == (None, None)
    assert appended("x", group="old")[0].offset == 8
    assert [watcher.news(), watcher.news()] == [{"old"}, set()]
