"""Pruning: what is kept by count and age, per group, deleted in steps as a group grows."""

from collections import Counter
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from unittest.mock import ANY, Mock, call

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from broadcast import send, send_many
from broadcast.engine.process import Process, this_process
from broadcast.engine.storage.pruning import EVERY, Pruning
from broadcast.engine.storage.records import Head, NewMessages
from broadcast.models import Group, Message
from tests.kit.log import appended, failing_if, leave_waiting, stored
from tests.kit.processes import together
from tests.kit.streams import draft, drafts

pytestmark = [pytest.mark.django_db, pytest.mark.log_contract]


@pytest.fixture
def pruning() -> Pruning:
    return this_process.pruning


def kept(group: str = "broadcast") -> list[int]:
    return [offset for offset, _ in stored(group) if offset is not None]


def floor(group: str = "broadcast") -> int:
    return Group.objects.get(name=group).floor


def age(*offsets: int, seconds: float = 61) -> None:
    Message.objects.filter(offset__in=offsets).update(sent_at=timezone.now() - timedelta(seconds=seconds))


class TestPruning:
    @pytest.mark.parametrize(
        ("keep", "old", "left"),
        [
            (2, [], [4, 5]),
            (None, [1, 2], [3, 4, 5]),
            (None, [1, 2, 3, 4, 5], []),
            (None, [2], [1, 2, 3, 4, 5]),  # only a prefix goes, whatever the clocks said
            (4, [1, 2, 3], [4, 5]),  # by whichever lets more go
            (1, [1, 2, 3], [5]),
            (None, [], [1, 2, 3, 4, 5]),
        ],
    )
    def test_what_goes_is_a_prefix_by_count_and_age(self, pruning, keep, old, left):
        appended(*"abcde")
        age(*old)
        since = timezone.now() - timedelta(seconds=60) if old else None
        assert pruning.prune("broadcast", keep, since) is False
        assert kept() == left
        assert floor() == 5 - len(left)
        assert appended("next")[0].offset == 6

    @pytest.mark.parametrize(("keep", "old"), [(1, []), (None, [1, 2, 3, 4])])
    def test_in_steps(self, pruning, keep, old):
        appended(*"abcde")
        age(*old)
        since = timezone.now() - timedelta(seconds=60) if old else None
        assert pruning.prune("broadcast", keep, since, step=3) is True
        assert kept() == [4, 5]
        assert pruning.prune("broadcast", keep, since, step=3) is False
        assert kept() == [5]
        assert pruning.prune("broadcast", keep, since, step=3) is False
        assert kept() == [5]

    def test_what_waits_and_what_others_have_is_left_alone(self, pruning):
        appended("a", "b")
        appended("c", group="other")
        leave_waiting(draft("waits"))
        pruning.prune("broadcast", 1, None)
        assert Counter(Message.objects.values_list("body", flat=True)) == Counter(["b", "c", "waits"])

    def test_an_empty_log_has_nothing_to_prune(self, pruning):
        assert pruning.prune("broadcast", 1, timezone.now()) is False

    def test_raising_the_limit_brings_nothing_back(self, pruning):
        appended(*"abc")
        pruning.prune("broadcast", 1, None)
        assert pruning.prune("broadcast", 2, None) is False
        assert floor() == 2

    def test_while_others_append(self, pruning, transactional_db):
        appended(*"abcdefghij")
        together(
            lambda: [pruning.prune("broadcast", 5, None, step=3) for _ in range(6)],
            lambda: [appended("more") for _ in range(10)],
        )
        assert kept() == list(range(floor() + 1, 21))


class TestLimits:
    def test_a_group_may_have_its_own(self, pruning, settings):
        settings.BROADCAST = {
            "KEEP_MESSAGES": 3,
            "KEEP_SECONDS": None,
            "GROUPS": {"news": {"keep_messages": 1}, "logs.*": {"keep_messages": None, "keep_seconds": 60}},
        }
        for group in ("news", "logs.a", "other"):
            appended(*"abcde", group=group)
        age(1)
        assert [pruning.step(group) for group in ("news", "logs.a", "other")] == [False] * 3
        assert [kept(group) for group in ("news", "logs.a", "other")] == [[5], [2, 3, 4, 5], [3, 4, 5]]

    @pytest.mark.parametrize("seconds", [None, 1e11, 1e18, 1e300])
    def test_without_limits_or_longer_than_there_are_dates(self, pruning, settings, seconds):
        settings.BROADCAST = {"KEEP_MESSAGES": None, "KEEP_SECONDS": seconds}
        appended(*"abc")
        age(1, 2, 3, seconds=10**9)
        assert pruning.step("broadcast") is False
        assert kept() == [1, 2, 3]


class TestDue:
    """Those groups are asked to be pruned that keep more than they have to, by one query that writes nothing."""

    GROUPS = {"few": {"keep_messages": 2}, "all.*": {"keep_messages": None, "keep_seconds": None}}

    def due(self, pruning: Pruning, *groups: str) -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            found = sorted(pruning.due(groups))
        assert [query["sql"].split()[0] for query in queries if "SAVEPOINT" not in query["sql"]] == ["SELECT"]
        return found

    @pytest.mark.parametrize(
        ("seconds", "old", "expected"),
        [
            (None, [1, 2, 3], ["few"]),
            (60, [], ["few"]),
            (60, [1], ["few", "other"]),
            (60, [3], ["few"]),  # only a prefix goes
            (1e300, [1, 2, 3], ["few"]),
        ],
    )
    def test_by_count_or_by_age_as_each_group_has_it(self, pruning, settings, seconds, old, expected):
        settings.BROADCAST = {"KEEP_MESSAGES": 3, "KEEP_SECONDS": seconds, "GROUPS": self.GROUPS}
        names = ["few", "all.a", "other"]
        for name in names:
            appended(*"abc", group=name)
        age(*old)
        assert self.due(pruning, *names, "void") == expected
        for name in expected:
            pruning.step(name)
        assert self.due(pruning, *names, "void") == []

    def test_a_gap_that_somebody_made_is_closed_once(self, pruning, settings):
        settings.BROADCAST = {"KEEP_MESSAGES": 9, "KEEP_SECONDS": 60}
        appended(*"abc")
        Message.objects.filter(offset=1).delete()
        assert self.due(pruning, "broadcast") == ["broadcast"]
        pruning.step("broadcast")
        assert (self.due(pruning, "broadcast"), kept(), floor()) == ([], [2, 3], 1)


class TestByItself:
    def test_a_step_is_due_whenever_a_multiple_is_reached(self):
        """However long the log is and however much is appended: as many steps as multiples, none asked for in vain."""
        process = Process()
        process.hints.publish_news = Mock()

        @given(head=st.integers(0, 3 * EVERY), size=st.integers(0, 3 * EVERY))
        def steps_are_taken(head, size):
            process.pruning.step = Mock(return_value=True)
            process.pruning.follow = Mock(wraps=partial(Pruning.follow, process.pruning))
            offsets = range(head + 1, head + size + 1)
            process.commit.follow_up([NewMessages("news", "e", [SimpleNamespace(offset=offset) for offset in offsets])])
            due = [call("news") for offset in offsets if offset % EVERY == 0]
            assert process.pruning.step.mock_calls == due
            assert process.pruning.follow.called is bool(due)

        steps_are_taken()

    def test_steps_end_when_nothing_is_left_to_delete(self, pruning):
        pruning.step = Mock(return_value=False)
        pruning.follow(NewMessages("broadcast", "e", [Message(offset=number) for number in range(1, 3 * EVERY)]))
        assert pruning.step.call_count == 1

    def test_a_group_is_pruned_as_it_grows(self, settings):
        """Also by a process that only sends, and by what came with a transaction."""
        settings.BROADCAST = {"KEEP_MESSAGES": 10}
        send_many(["x"] * (EVERY - 1))
        assert len(kept()) == EVERY - 1
        send("x")
        assert kept() == list(range(EVERY - 9, EVERY + 1))
        for _ in range(2):
            send_many(["x"] * 1200)
        assert kept() == list(range(EVERY + 2391, EVERY + 2401))
        leave_waiting(*drafts(*["x"] * EVERY))
        send("x")
        assert kept() == list(range(2 * EVERY + 2392, 2 * EVERY + 2402))


class TestAFailure:
    """What was sent was sent: its sender hears nothing of it."""

    def test_of_the_database_can_wait(self, pruning, caplog):
        with failing_if(lambda sql: DatabaseError("no disk")):
            pruning.follow(NewMessages("broadcast", "e", [Message(offset=EVERY)]))
        assert caplog.records == []

    def test_of_the_settings_is_told(self, settings, caplog):
        settings.BROADCAST = {"KEEP_MESSAGES": "many"}
        assert [message.offset for message in send_many(["x"] * EVERY)] == list(range(1, EVERY + 1))
        [record] = caplog.records
        assert record.message == "Old messages of broadcast cannot be deleted"


def test_a_step_that_writes_shows_that_messages_can_be_sent(pruning):
    this_process.health.log.fail("no disk", "sending")
    pruning.step("broadcast")
    assert not this_process.health.log.is_failing


@pytest.mark.parametrize("group", ["broadcast", "unknown"])
def test_an_erased_group_begins_anew_and_others_stay(pruning, group):
    appended("a", "b", group=group)
    appended("c", group="other")
    before = this_process.log.head(group)
    pruning.erase(group)
    assert (stored(group), stored("other")) == ([], [(1, "c")])
    assert this_process.log.head(group) == Head(ANY, 2, 2, 2)
    assert this_process.log.head(group).epoch != before.epoch
    assert appended("d", group=group)[0].offset == 3
