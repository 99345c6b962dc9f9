"""What is told of an error: to strangers in the language of whoever asks, the reason to staff and to the log."""

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.utils import translation
from django.utils.translation import trans_real

from broadcast.access.refusals import refusal
from broadcast.access.sentences import told
from broadcast.engine.log_lines import MAX_LINES
from broadcast.exceptions import InvalidMessage, LogUnavailable, OutcomeUnknown, Refused
from tests.kit.log import levels

ANN = User(pk=7, username="ann")
STAFF = User(pk=8, username="root", is_staff=True)
AWAY = 'connection to "10.0.0.7" as shop_admin failed'
AGAIN = "Messages can neither be read nor sent right now. Try again in a moment."


@pytest.mark.parametrize("user", [None, AnonymousUser(), ANN, User(pk=9, is_staff=True, is_active=False), STAFF])
@pytest.mark.parametrize(
    ("error", "sentence", "detail"),
    [
        (InvalidMessage("The body must be text."), "The body must be text.", ""),
        (Refused("You may not.", "forbidden", detail='BROADCAST["X"] is 1.'), "You may not.", 'BROADCAST["X"] is 1.'),
        (LogUnavailable(AWAY), AGAIN, AWAY),
        (LogUnavailable(f"{AWAY}\nLINE 1: INSERT INTO … VALUES ('secret')"), AGAIN, AWAY),
        (OutcomeUnknown(AWAY), OutcomeUnknown.sentence, AWAY),
    ],
)
def test_strangers_are_told_a_sentence_and_staff_the_reason_too(caplog, error, user, sentence, detail):
    assert told(error, user) == (f"{sentence} {detail}".strip() if user is STAFF else sentence)
    who = f"user {user.pk}" if user in (ANN, STAFF) else "a guest" if detail else "a visitor"
    assert caplog.messages == [f"Refused {who} ({error.code}): {sentence} {detail}".strip()]
    assert levels(caplog) == ["WARNING" if detail else "INFO"]


def test_a_stranger_who_tries_every_name_fills_no_log(settings, caplog):
    settings.BROADCAST = {"GROUPS": {"room.*": {"subscribe": "staff"}}}
    for number in range(1000):
        for name in (f"room.{number}", f"nowhere.{number}", f"no where\n{number}" + "x" * 1000):
            told(refusal(None, "subscribe", name), None)
    assert len(caplog.messages) == 3 * MAX_LINES
    assert max(map(len, caplog.messages)) < 600
    assert not any("\n" in line for line in caplog.messages)


def test_it_is_in_the_language_of_whoever_asks(settings, monkeypatch):
    settings.BROADCAST = {"GROUPS": {}}
    german = {AGAIN: "Gerade nicht.", "Sign in if you have an account.": "Bitte anmelden."}
    german["You may not write to %(group)s, or there is no such group."] = "Kein Schreiben in %(group)s."
    monkeypatch.setattr(trans_real.translation("de"), "gettext", lambda text: german.get(text, text))
    with translation.override("de"):
        assert told(LogUnavailable("away"), None) == "Gerade nicht."
        assert told(refusal(None, "publish", "news"), None) == "Kein Schreiben in 'news'. Bitte anmelden."
    assert told(LogUnavailable("away"), None) == AGAIN
