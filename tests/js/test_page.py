"""The chat page as the template draws it: as served, then alive under a strict Content-Security-Policy."""

from __future__ import annotations

import re

import pytest
from django.test import override_settings
from playwright.sync_api import expect

from broadcast.elements.texts import TEXTS
from broadcast.engine.history import History
from tests.kit.accessibility import serious

from .conftest import OpenPage
from .pages import chat_html
from .samples import ATTACK, CHAT, message
from .test_build import SOURCES


def test_nothing_is_inline() -> None:
    html = chat_html(CHAT)
    assert re.findall(r"<script\b[^>]*>", html) == ['<script defer src="/static/broadcast/feed.js">']
    assert not re.search(r"<style\b|\sstyle=|javascript:", html)
    assert not re.search(r"<[^>]*\son\w+\s*=", html)


def test_the_messages_are_there_without_javascript(chat_page: OpenPage) -> None:
    page = chat_page(javascript=False)
    expect(page.locator("[data-messages] [data-body]")).to_have_text(["Welcome to the demo.", "two\n lines", ATTACK])
    expect(page.locator("[data-messages] [data-author]")).to_have_text(["Server", "ann", ATTACK])
    expect(page.locator("time").first).to_have_attribute("datetime", "2026-02-28T09:30:00+00:00")
    assert page.locator("[data-status]").inner_text() == "Reload the page to see what is new."
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    expect(page.locator("[data-keys]")).to_be_hidden()
    expect(chat_page(javascript=False, post_url="").locator("form")).to_be_hidden()  # which would lead nowhere


def test_it_comes_to_life_under_a_strict_policy_with_names_for_assistive_technology(chat_page: OpenPage) -> None:
    page = chat_page()
    expect(page.get_by_label("Your name")).to_have_value(re.compile(r"Guest \d+"))
    # Nobody answers WebSockets here: that it goes on trying shows that the policy let it try.
    expect(page.locator("broadcast-feed")).to_have_attribute("data-state", "reconnecting")
    expect(page.get_by_text("Reconnecting")).to_be_visible()
    assert page.title() != "hacked"
    expect(page.get_by_role("log", name="New messages")).to_be_visible()
    expect(page.get_by_role("region", name="Messages")).to_be_visible()
    expect(page.get_by_role("textbox", name="Message", exact=True)).to_be_editable()
    expect(page.get_by_role("textbox", name="Your name")).to_be_editable()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()


FOCUSED = """() => {
  const it = document.activeElement;
  const frame = it.closest("[data-field]:has(textarea:focus)") ?? it;
  return [it.dataset.scroller === "" ? "messages" : it.name || it.type, getComputedStyle(frame).outlineStyle];
}"""


def test_the_keyboard_reaches_every_control_and_sees_where_it_is(chat_page: OpenPage) -> None:
    page = chat_page()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    page.get_by_role("button", name="Send").focus()
    reached = []
    for _ in range(4):
        reached.append(page.evaluate(FOCUSED))
        page.keyboard.press("Shift+Tab")
    assert reached == [["submit", "solid"], ["body", "solid"], ["author", "solid"], ["messages", "solid"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(chat_page: OpenPage, scheme: str) -> None:
    page = chat_page(bypass_csp=True)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    expect(page.locator("broadcast-feed")).to_have_attribute("data-state", "reconnecting")
    assert serious(page) == {}


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
def test_a_narrow_page_does_not_scroll_sideways(chat_page: OpenPage, direction: str) -> None:
    long = message(1, "a" * 200, "b" * 3000, "guest")
    page = chat_page(history=History("e1", 1, [long, long]), max_body=4000)
    page.evaluate("direction => { document.documentElement.dir = direction }", direction)
    page.set_viewport_size({"width": 320, "height": 600})
    page.locator("textarea").fill("c" * 3000)
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    assert page.locator("[data-scroller]").evaluate("it => it.scrollWidth - it.clientWidth") == 0
    expect(page.get_by_role("button", name="Send")).to_be_in_viewport()


def test_it_begins_at_the_newest_message(chat_page: OpenPage) -> None:
    many = [message(offset, "ann", f"message {offset}", "user") for offset in range(1, 51)]
    page = chat_page(history=History("e1", 50, many))
    expect(page.get_by_text("message 50", exact=True)).to_be_in_viewport()


def test_someone_who_goes_on_is_named_once() -> None:
    ann = [message(offset, "ann", "hi", "user") for offset in (1, 2)]
    server = [message(offset, "Server", "hear", "server") for offset in (3, 4)]
    html = chat_html(CHAT | {"history": History("e1", 4, [*ann, *server])})
    rows = re.findall(r"<li data-source[^>]*>", html)[:4]
    assert [" data-follows" in row for row in rows] == [False, True, False, False]


def test_a_user_writes_under_their_own_name(chat_page: OpenPage) -> None:
    page = chat_page(user_name="ann")
    expect(page.get_by_text("Writing as ann")).to_be_visible()
    expect(page.get_by_label("Your name")).to_have_count(0)
    expect(page.locator("[data-messages] [data-own] [data-author]")).to_have_text(["ann"])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "You can read here. To write, sign in first."),
        ({"sign_in_url": "/admin/login/"}, "Sign in to write."),
        ({"user_name": "ann"}, "You can read here, but your account may not write."),
    ],
)
def test_who_may_not_write_sees_why_instead_of_a_box(chat_page: OpenPage, given: dict[str, str], sentence: str) -> None:
    page = chat_page(may_publish=False, **given)
    expect(page.get_by_text(sentence)).to_be_visible()
    expect(page.locator("form")).to_have_count(0)
    expect(page.locator("broadcast-feed")).to_have_attribute("data-state", "reconnecting")


@pytest.mark.parametrize("offset", [1234567, 0])
def test_numbers_for_the_script_are_not_written_for_people(offset: int) -> None:
    with override_settings(USE_THOUSAND_SEPARATOR=True):
        history = History("e1", offset, [message(7654321, "ann", "hi", "user")])
        html = chat_html(CHAT | {"history": history, "max_body": 4000})
    assert f' offset="{offset}"' in html
    assert 'data-offset="7654321"' in html
    assert 'max-body="4000"' in html


def test_texts_are_the_same_in_both_languages_of_the_code() -> None:
    script = (SOURCES / "elements" / "texts.js").read_text(encoding="utf-8")
    assert dict(re.findall(r'^  (\w+): "(.+)",$', script, re.MULTILINE)) == TEXTS


def test_motion_is_only_for_those_who_want_it(chat_page: OpenPage) -> None:
    page = chat_page()
    moving = """() => {
      document.querySelector("broadcast-feed").tell("connecting", "");
      return document.getAnimations().length;
    }"""
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(moving) == 1
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(moving) == 0
