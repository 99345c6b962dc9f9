"""What is kept: by count and age, per group, deleted in steps as a group grows."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, connection
from django.utils import timezone

from broadcast import send, send_many
from broadcast.engine.storage import log
from broadcast.engine.storage.log import NewMessages
from broadcast.engine.storage.pruning import EVERY, ago, prune_behind, prune_step
from broadcast.models import Message

pytestmark = pytest.mark.django_db


def kept(group: str = "news") -> list[int]:
    return list(Message.objects.filter(group_id=group).order_by("offset").values_list("offset", flat=True))


def age(*offsets: int, seconds: float) -> None:
    Message.objects.filter(offset__in=offsets).update(sent_at=timezone.now() - timedelta(seconds=seconds))


class TestLimits:
    def test_by_count(self, settings):
        settings.BROADCAST = {"KEEP_MESSAGES": 2}
        send_many([*"abcd"], group="news")
        assert prune_step("news") is False
        assert kept() == [3, 4]

    def test_by_age(self, settings):
        settings.BROADCAST = {"KEEP_SECONDS": 60}
        send_many([*"abcd"], group="news")
        age(1, 2, seconds=61)
        age(3, seconds=50)
        prune_step("news")
        assert kept() == [3, 4]

    def test_a_group_may_have_its_own(self, settings):
        settings.BROADCAST = {
            "KEEP_MESSAGES": 3,
            "KEEP_SECONDS": None,
            "GROUPS": {"news": {"keep_messages": 1}, "logs.*": {"keep_messages": None, "keep_seconds": 60}},
        }
        for group in ("news", "logs.a", "other"):
            send_many([*"abcde"], group=group)
        age(1, seconds=61)
        for group in ("news", "logs.a", "other"):
            prune_step(group)
        assert kept("news") == [5]
        assert kept("logs.a") == [2, 3, 4, 5]
        assert kept("other") == [3, 4, 5]

    def test_without_limits(self, settings):
        settings.BROADCAST = {"KEEP_MESSAGES": None, "KEEP_SECONDS": None}
        send_many([*"abc"], group="news")
        age(1, 2, 3, seconds=10**9)
        assert prune_step("news") is False
        assert kept() == [1, 2, 3]

    @pytest.mark.parametrize("seconds", [1e11, 1e18, 1e300])
    def test_longer_than_there_are_dates(self, settings, seconds):
        settings.BROADCAST = {"KEEP_SECONDS": seconds}
        send_many([*"abc"], group="news")
        assert prune_step("news") is False
        assert kept() == [1, 2, 3]
        assert ago(seconds) is None


class TestByItself:
    def test_a_group_is_pruned_as_it_grows(self, settings):
        settings.BROADCAST = {"KEEP_MESSAGES": 5}
        for _ in range(EVERY - 1):
            send("x", group="news")
        assert len(kept()) == EVERY - 1
        send("x", group="news")
        assert kept() == list(range(EVERY - 4, EVERY + 1))

    def test_a_process_that_only_sends_keeps_up_with_itself(self, settings):
        settings.BROADCAST = {"KEEP_MESSAGES": 10}
        for _ in range(3):
            send_many(["x"] * 1200, group="news")
        assert kept() == list(range(3591, 3601))

    def test_what_came_by_a_transaction_counts_as_well(self, settings):
        settings.BROADCAST = {"KEEP_MESSAGES": 10}
        log.insert_waiting([draft() for _ in range(EVERY)])
        send("x", group="news")
        assert kept() == list(range(EVERY - 8, EVERY + 2))

    def test_nothing_new_nothing_to_do(self, django_assert_num_queries):
        with django_assert_num_queries(0):
            prune_behind(NewMessages("news", "e", []))
            prune_behind(NewMessages("news", "e", [Message(offset=EVERY + 1), Message(offset=EVERY + 2)]))


def draft() -> log.Draft:
    return log.Draft("news", "server", "Server", "x")


class TestAFailure:
    """What was sent was sent: its sender hears nothing of it."""

    def due(self) -> NewMessages:
        return NewMessages("news", "e", [Message(offset=EVERY)])

    def test_of_the_database_can_wait(self, caplog):
        def refuse(execute, sql, params, many, context):
            raise DatabaseError("no disk")

        with connection.execute_wrapper(refuse):
            prune_behind(self.due())
        assert caplog.records == []

    def test_of_the_settings_is_told(self, settings, caplog):
        settings.BROADCAST = {"KEEP_MESSAGES": "many"}
        for _ in range(EVERY):
            assert send("x", group="news").offset
        assert len(kept()) == EVERY
        [record] = caplog.records
        assert record.message == "Old messages of news cannot be deleted"
