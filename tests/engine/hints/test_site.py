"""The marks by which a site knows its own events."""

import pytest

from broadcast.engine.hints import site as module
from broadcast.engine.hints.hint import SITE_MARK
from broadcast.engine.hints.site import SiteMarks


def test_a_site_knows_its_own_mark_and_no_other(settings):
    marks, there = SiteMarks(), SiteMarks()
    own = marks.own
    assert there.own == own
    assert settings.SECRET_KEY not in own
    settings.SECRET_KEY = "of another site"
    assert there.own != own
    assert [marks.accept({SITE_MARK: mark}) for mark in (own, there.own)] == [False, True]


@pytest.mark.parametrize("key", ["a new key", b"a new key"])
def test_while_a_key_is_rolled_out_those_that_have_it_still_hear_those_that_do_not(settings, key):
    marks = SiteMarks()
    before = marks.own
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = key, [settings.SECRET_KEY]
    assert marks.own != before
    assert all(marks.accept({SITE_MARK: mark}) for mark in (before, marks.own))


def test_marks_are_made_once(monkeypatch):
    marks = SiteMarks()
    own = marks.own
    monkeypatch.setattr(module, "mark_of", None)
    assert marks.own == own
    assert marks.accept({SITE_MARK: own})
