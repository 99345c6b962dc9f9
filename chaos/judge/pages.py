"""What pages saw: each message once and in order, by the client library and on the screen."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from chaos import GROUPS, key_of
from chaos.judge.archive import Archive, Now
from chaos.judge.timeline import Place, Step, Timeline
from chaos.judge.verdict import Verdict
from chaos.pages import Event, Page

NOWHERE = Place("", -1)


def check_page(
    verdict: Verdict, page: Page, archive: Archive, now: Mapping[str, Now], lines: Mapping[str, Timeline]
) -> None:
    for group in GROUPS:
        events = [event for event in page.events if event.group == group]
        place = follow(verdict, page.name, events, lines[group])
        if place != Place(now[group].epoch, now[group].head):
            verdict.add("page did not reach the head", f"{page.name} is at {place} of {group}: {now[group]}")
    check_screen(verdict, page, archive)


def follow(verdict: Verdict, name: str, events: Sequence[Event], line: Timeline) -> Place:
    """Goes through what a page's subscription told, and returns where it ends."""
    place, is_lost = NOWHERE, False
    heard: set[str] = set()
    for event in events:
        to = Place(event.epoch, -1 if event.offset is None else event.offset)
        if event.kind == "lost":
            is_lost = True
        elif event.kind == "message" and event.offset is None:
            if event.ref in heard:
                verdict.add("page heard ephemeral twice", f"{name}: {event}")
            heard.add(event.ref)
        elif event.kind == "message":
            if to != Place(place.epoch, place.offset + 1):
                verdict.add("page missed or doubled", f"{name}: {event} at {place}")
            if not line.holds(to, event.ref):
                verdict.add("page was told in a wrong epoch", f"{name}: {event}")
            place = to
        elif to != place:
            if place != NOWHERE and (complaint := line.complaint(Step(event.group, "page", place, to, is_lost, name))):
                verdict.add("not true", f"{name}: {event} at {place}: {complaint}")
            place, is_lost = to, False
        else:
            is_lost = False
    return place


def check_screen(verdict: Verdict, page: Page, archive: Archive) -> None:
    """No message is shown more often than the log ever had it, and one that is in no log once at most."""
    logged = Counter(key_of(row.body) for row in archive.logged())
    for key, count in Counter(map(key_of, page.shown)).items():
        if count > max(1, logged[key]):
            verdict.add("shown twice", f"{page.name}: {key}, {count} times")


def heard_live(page: Page) -> Iterator[tuple[Event, float]]:
    """The messages of the log that a page heard, each with the time since which its group was live."""
    since: dict[str, float] = {}
    for event in page.events:
        if event.kind == "live" or (event.kind == "lost" and event.group in since):
            since[event.group] = event.at
        elif event.kind == "message" and event.offset is not None:
            yield event, since.get(event.group, event.at)
