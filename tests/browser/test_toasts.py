"""Toasts as people meet them: above what is open, beside what is written, by finger, by key and by pointer."""

# ruff: noqa: F811

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, product

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.browser.test_elements import WAIT, Open, open_page, say, server  # noqa: F401 (fixtures)
from tests.kit.accessibility import Tree
from tests.kit.waiting import wait_until

PHONE = {"width": 390, "height": 844}
POSITIONS = ("top-start", "top", "top-end", "bottom-start", "bottom", "bottom-end")


def toasts(page: Page) -> Locator:
    """The texts that are shown, wherever they are: a dialog has them while it is open."""
    return page.locator("article:not([hidden], [data-leaving]) [data-body]")


def dismissing(page: Page, body: str) -> Locator:
    return page.get_by_role("button", name=f"Dismiss: {body}", exact=True)


# Above what is open

OPEN = {
    "a dialog": "document.body.append(it); it.showModal()",
    "one within another": (
        "const outer = dialog(); outer.append(it); document.body.append(outer); outer.showModal(); it.showModal()"
    ),
    "one that stands before the one it is above": (
        "document.body.append(it, dialog()); it.nextSibling.showModal(); it.showModal()"
    ),
    "one in a root": (
        "const host = document.body.appendChild(make('div'));"
        "host.attachShadow({ mode: 'open' }).append(it); it.showModal()"
    ),
    "a popover": "it.popover = 'manual'; document.body.append(it); it.showPopover()",
}
MAKE = """
  const make = (tag, text = "") => Object.assign(document.createElement(tag), { textContent: text });
  const dialog = () => { const made = make("dialog"); made.append(make("button", "Yes")); return made; };
  const it = (window.opened ??= []).at(opened.push(dialog()) - 1);
"""


ENDINGS = ("it.remove()", "it.popover ? it.hidePopover() : it.close()")


def test_toasts_can_be_used_above_whatever_is_open(open_page: Open, say) -> None:
    page = open_page("/toasts/")
    element = page.locator("broadcast-announcements")
    element.evaluate("it => it.style.setProperty('--broadcast-ink', 'rgb(1, 2, 3)')")
    say("Before", timeout=0)
    expect(toasts(page)).to_have_text(["Before"], timeout=WAIT)
    for opening, ending in zip(OPEN.values(), cycle(ENDINGS), strict=False):
        page.evaluate(f"() => {{ {MAKE} {opening} }}")
        regions = Tree(page).live_regions()
        body = f"{opening} {ending}"
        say(body, level="error")
        wait_until(lambda: Tree(page).says(body, regions["alert"]))  # noqa: B023
        for each in ("Before", body):
            button = dismissing(page, each)
            button.click(trial=True)
            button.focus()
            expect(button).to_be_focused()
            assert f"Dismiss: {each}" in Tree(page).names("button")
            expect(button).to_have_css("color", "rgb(1, 2, 3)")
        page.get_by_role("button", name="Yes").last.focus()
        page.evaluate(f"() => {{ const it = opened.at(-1); {ending} }}")
        page.evaluate("document.querySelectorAll('dialog').forEach((each) => each.remove())")
        dismissing(page, body).click()
        expect(toasts(page)).to_have_text(["Before"])
        expect(element.get_by_text("Before", exact=True)).to_be_visible()  # at home


# Beside what is written


def box(it: Locator) -> dict[str, float]:
    found = it.bounding_box()
    assert found is not None
    return found


def overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    return all(
        one[start] < other[start] + other[size] and other[start] < one[start] + one[size]
        for start, size in (("x", "width"), ("y", "height"))
    )


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True, reduced_motion="reduce")
    yield context.new_page()
    context.close()


FIELD = """() => {
  const field = document.createElement("input");
  Object.assign(field.style, { position: "fixed", insetBlockEnd: "4px", insetInline: "4px" });
  document.body.append(field);
  field.focus();
}"""


# The boxes of all cards, and of where one writes.
BOXES = """(writing) => {
  const { root } = document.querySelector("broadcast-announcements");
  const cards = [...root.querySelectorAll("article:not([hidden])")];
  return [...cards, writing].map((it) => it.getBoundingClientRect().toJSON());
}"""


@pytest.mark.parametrize(
    ("path", "writing"), [("/chat/?shadow=none", "main form"), ("/chat/", "main form"), ("/toasts/", "body > input")]
)
def test_never_over_where_one_writes_on_a_phone(open_page: Open, say, phone: Page, path: str, writing: str) -> None:
    bodies = [f"The library closes at {hour}, and opens again on Monday" for hour in range(7)]
    for body in bodies:
        say(body, timeout=0)
    page = open_page(path, phone)
    if writing == "body > input":
        page.evaluate(FIELD)
    expect(page.get_by_role("button", name="3 more")).to_be_visible()
    element, place = page.locator("broadcast-announcements"), page.locator(writing)
    for direction, position in product(("ltr", "rtl"), POSITIONS):
        page.evaluate("dir => { document.documentElement.dir = dir }", direction)
        element.evaluate("(it, position) => { it.position = position }", position)
        *cards, written = place.evaluate(BOXES)
        assert len(cards) == 4
        assert not any(overlap(card, written) for card in cards), (direction, position)
    page.get_by_role("button", name="3 more").tap()
    expect(toasts(page)).to_have_text(bodies)
    assert not overlap(box(page.locator("broadcast-announcements [data-frame]")), box(place))
    for body in bodies:
        dismissing(page, body).tap()


def test_on_a_small_window_the_newest_is_seen_and_the_rest_scrolled_to(open_page: Open, say) -> None:
    page = open_page("/toasts/")
    page.set_viewport_size({"width": 640, "height": 300})
    bodies = [f"{number}: the library closes at six. " * 4 for number in range(4)]
    for body in bodies:
        say(body, timeout=0)
    expect(toasts(page)).to_have_count(4, timeout=WAIT)
    for position in ("bottom-end", "top-start"):
        page.locator("broadcast-announcements").evaluate("(it, position) => { it.position = position }", position)
        expect(page.locator("article").last).to_be_in_viewport(ratio=0.99)
        assert box(page.locator("broadcast-announcements [data-frame]"))["height"] == 300  # all that there is
        for each in [*page.locator("article").all(), page.get_by_role("button", name="Dismiss all")]:
            each.scroll_into_view_if_needed()
            expect(each).to_be_in_viewport(ratio=0.99)
            each.click(trial=True)


# By finger


def drag(page: Page, card: Locator, x: float, y: float = 0) -> None:
    session = page.context.new_cdp_session(page)
    start = box(card)
    points = [{"x": start["x"] + 100 + x * i / 8, "y": start["y"] + 20 + y * i / 8} for i in range(9)]
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [points[0]]})
    for point in points[1:]:
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    session.detach()


def test_a_finger_pushes_one_away(open_page: Open, say, phone: Page) -> None:
    page = open_page("/toasts/", phone)
    for body in ("Stays", "To the left", "To the right"):
        say(body, timeout=0, url="/menu/")
    expect(toasts(page)).to_have_text(["Stays", "To the left", "To the right"], timeout=WAIT)
    card = page.locator("article:not([data-leaving])")
    drag(page, card.first, 60)
    drag(page, card.first, 10, -150)
    drag(page, card.first, 0, 150)
    expect(card.first).to_have_css("opacity", "1")
    expect(card).to_have_count(3)
    drag(page, card.nth(1), -250)
    expect(toasts(page)).to_have_text(["Stays", "To the right"])
    drag(page, card.nth(1), 250)
    expect(toasts(page)).to_have_text(["Stays"])
    assert page.url.endswith("/toasts/")


def test_for_a_finger_time_goes_on_when_it_has_left(open_page: Open, say, phone: Page) -> None:
    phone.clock.install()
    page = open_page("/toasts/", phone)
    for body in ("Short", "Tapped", "To dismiss", "Short too"):
        say(body, timeout=300)
    expect(toasts(page)).to_have_count(4, timeout=WAIT)
    toasts(page).filter(has_text="Tapped").tap()
    dismissing(page, "To dismiss").tap()
    expect(toasts(page)).to_have_text(["Short", "Tapped", "Short too"])
    page.clock.run_for(400_000)
    expect(toasts(page)).to_have_count(0)


# By key


def test_the_keyboard_goes_there_card_by_card_and_back(open_page: Open, say) -> None:
    page = open_page("/toasts/")
    page.evaluate("document.querySelector('main').append(document.createElement('input'))")
    field = page.locator("input")
    for number in range(1, 7):
        say(f"Number {number}", timeout=0, title=f"News {number}", url="/menu/")
    expect(page.get_by_role("button", name="2 more")).to_be_visible(timeout=WAIT)
    field.focus()

    def walk(*keys: str) -> list[str]:
        steps = []
        for key in keys:
            page.keyboard.press(key)
            steps.append(Tree(page).focused)
        return steps

    assert walk("F6", "Tab", "Tab", "Tab") == [
        "region Announcements",
        "link News 3",
        "button Dismiss: News 3",
        "link News 4",
    ]
    assert walk("Escape", "Escape") == ["button Dismiss: News 5", "button Dismiss: News 6"]
    assert walk("F6") == ["textbox"]
    expect(toasts(page)).to_have_text([f"Number {number}" for number in (1, 2, 3, 6)])
    assert walk("F6", *["Tab"] * 9)[-2:] == ["button Dismiss: News 6", "button Dismiss all"]
    assert walk("Enter") == ["textbox"]
    expect(toasts(page)).to_have_count(0)
    assert walk("F6") == ["textbox"]


def test_more_opens_by_key_and_a_dialog_stays_when_a_toast_is_dismissed(open_page: Open, say) -> None:
    page = open_page("/toasts/")
    for number in range(1, 6):
        say(f"Number {number}", timeout=0)
    more = page.get_by_role("button", name="1 more")
    expect(more).to_be_visible(timeout=WAIT)
    page.evaluate(f"() => {{ {MAKE} {OPEN['a dialog']} }}")
    more.focus()
    page.keyboard.press("Enter")
    expect(toasts(page)).to_have_count(5)
    assert Tree(page).focused == "region Announcements"
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(toasts(page)).to_have_count(4)
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("F6")
    assert Tree(page).focused == "button Yes"
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_time_stands_still_for_who_is_there_and_errors_stay(open_page: Open, say, context: BrowserContext) -> None:
    page = context.new_page()
    page.clock.install()
    open_page("/toasts/", page)
    say("An error", level="error")
    say("Read me", timeout=300)
    expect(toasts(page)).to_have_count(2, timeout=WAIT)
    page.keyboard.press("F6")
    page.clock.run_for(400_000)
    expect(toasts(page)).to_have_text(["An error", "Read me"])
    page.keyboard.press("Escape")
    page.clock.run_for(400_000)
    expect(toasts(page)).to_have_text(["An error"])


def test_what_comes_moves_nothing_that_is_pointed_at(open_page: Open, say) -> None:
    page = open_page("/toasts/")
    page.emulate_media(reduced_motion="reduce")
    element = page.locator("broadcast-announcements")
    bodies = ["Mine", *(f"Number {number}" for number in range(12))]
    for position in ("bottom-end", "top-start"):
        element.evaluate("(it, position) => { it.position = position }", position)
        say("Mine", timeout=0)
        button = dismissing(page, "Mine")
        button.hover(timeout=WAIT)
        before = box(button)
        for body in bodies[1:]:
            say(body, timeout=0, level="error")
        expect(toasts(page)).to_have_text(bodies, timeout=WAIT)
        assert box(button) == before
        page.mouse.click(before["x"] + 10, before["y"] + 10)
        expect(button).to_have_count(0)
        page.mouse.move(1, page.viewport_size["height"] / 2)
        expect(toasts(page)).to_have_text(bodies[-4:])
        page.get_by_role("button", name="Dismiss all").click()
        expect(toasts(page)).to_have_count(0)
