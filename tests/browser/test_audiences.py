"""Two users and a guest in three browsers: each gets what is theirs and nothing else, whatever changes meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Event

import pytest
from playwright.sync_api import Browser, BrowserContext

from tests.kit import waiting
from tests.kit.clients import fetch
from tests.site import Daphne, Site

SEED, ROUNDS = 387, 16  # each kind of change comes, to and fro, told and quietly
PAUSE = 0.1  # seconds between two messages to everyone

USERS = """
from django.contrib.auth.models import Group, User
for name in ("red", "blue"):
    Group.objects.create(name=name)
for name in ("ann", "bob"):
    User.objects.create_user(name)
"""

FOLLOW = """async (names) => {
  const { connect } = await import("/static/broadcast/broadcast.js");
  window.heard ??= [];
  window.states ??= {};
  for (const name of names) {
    const group = name.split(":")[0];
    if (["asking", "live"].includes(states[group])) continue;
    states[group] = "asking";
    const subscription = connect().subscribe(name);
    subscription.addEventListener("live", () => (states[group] = "live"));
    subscription.addEventListener("ended", () => (states[group] = "ended"));
    subscription.addEventListener("message", ({ detail }) => heard.push([detail.group, Number(detail.body)]));
  }
}"""

# To look into a page costs more than what is waited for.
wait_until = partial(waiting.wait_until, pause=PAUSE / 2)

Rights = dict[str, frozenset[str]]
"""By visitor, the groups that they may follow."""


@dataclass
class Phase:
    """A stretch of time: what each visitor must hear of what is sent in it, and what they may."""

    first: int
    must: Rights
    may: Rights


class Visitor:
    """Somebody in a browser of their own, who tries to follow everything there is."""

    def __init__(self, name: str, context: BrowserContext, server: Daphne, everything: list[str]) -> None:
        self.name = name
        self.context = context
        self.server = server
        self.everything = everything
        self.page = context.new_page()
        self.heard: list[tuple[str, int]] = []

    def visit(self) -> None:
        """Loads the page, and asks for every group there is."""
        self.listen()
        self.page.goto(f"{self.server.url}/blank/")
        self.follow()

    def elsewhere(self, path: str) -> None:
        """Does something in another tab of the same browser."""
        tab = self.context.new_page()
        tab.goto(self.server.url + path)
        tab.close()

    def follow(self, groups: frozenset[str] | None = None) -> None:
        names = [name for name in self.everything if groups is None or name.partition(":")[0] in groups]
        self.page.evaluate(FOLLOW, names)

    def has_what_is_theirs(self, rights: frozenset[str]) -> bool:
        """Whether all of it is live; asks once more for what is not: a new right is known a moment later."""
        if not self.has_settled():
            return False
        live = self.live()
        assert live <= rights, f"{self.name} follows {live - rights}"
        if live < rights:
            self.page.wait_for_timeout(200)
            self.follow(rights - live)
        return live == rights

    def listen(self) -> list[tuple[str, int]]:
        """All that was heard so far."""
        if self.page.url != "about:blank":
            news = self.page.evaluate("() => (window.heard ?? []).splice(0)")
            self.heard += [(group, number) for group, number in news]
        return self.heard

    def states(self) -> dict[str, str]:
        states: dict[str, str] = self.page.evaluate("() => window.states ?? {}")
        return states

    def live(self) -> frozenset[str]:
        return frozenset(group for group, state in self.states().items() if state == "live")

    def has_settled(self) -> bool:
        return "asking" not in self.states().values()

    def last(self, group: str) -> int:
        return max((number for name, number in self.listen() if name == group), default=-1)


class Crier:
    """Sends a message to every group at once, over and over, and counts."""

    def __init__(self, server: Daphne, groups: list[str]) -> None:
        self.server = server
        self.groups = " ".join(groups)
        self.number = 0  # of the message that is sent now, or next
        self.ending = Event()

    def start(self) -> None:
        self.crying = ThreadPoolExecutor(1).submit(self.cry)

    def cry(self) -> None:
        while not self.ending.wait(PAUSE):
            fetch(self.server, "/say/", body=str(self.number), groups=self.groups)
            self.number += 1

    def end(self) -> int:
        """Returns how many messages there were."""
        self.ending.set()
        self.crying.result()
        return self.number


@dataclass
class Member:
    """What the test knows of a user."""

    group: str
    signed_in: bool = True
    flags: set[str] = field(default_factory=lambda: {"is_active"})

    def rights(self, tickets: frozenset[str]) -> frozenset[str]:
        if not self.signed_in or "is_active" not in self.flags:
            return frozenset({"broadcast"})
        opened = {"is_staff": "staff", "permission": "members", "red": "team.red", "blue": "team.blue"}
        return tickets | {"broadcast", self.group} | {group for flag, group in opened.items() if flag in self.flags}


class Scene:
    """The server, the three visitors, and a record of who might hear what and when."""

    def __init__(self, server: Daphne, browser: Browser) -> None:
        self.server = server
        names = {name: fetch(server, f"/names/{name}/").split() for name in ("ann", "bob")}
        self.members = {name: Member(group) for name, (group, _) in names.items()}
        ticket = names["ann"][1]
        self.tickets = {"ann": frozenset({ticket.partition(":")[0]}), "bob": frozenset[str]()}
        groups = ["broadcast", "staff", "members", "team.red", "team.blue", *(group for group, _ in names.values())]
        self.visitors = {
            name: Visitor(name, browser.new_context(), server, [*groups, ticket]) for name in ("ann", "bob", "guest")
        }
        self.crier = Crier(server, [*groups, ticket.partition(":")[0]])
        self.phases: list[Phase] = []

    def rights(self) -> Rights:
        known = {name: member.rights(self.tickets[name]) for name, member in self.members.items()}
        return {**known, "guest": frozenset({"broadcast"})}

    def begin(self) -> None:
        for name, visitor in self.visitors.items():
            if name in self.members:
                visitor.elsewhere(f"/in/{name}/")
            visitor.visit()
        self.settle()
        self.crier.start()

    def settle(self) -> None:
        """Waits until each follows what they may and nothing else."""
        rights = self.rights()
        for name, visitor in self.visitors.items():
            wait_until(lambda v=visitor, n=name: v.live() <= rights[n])
            wait_until(visitor.has_settled)
            visitor.follow()
            wait_until(lambda v=visitor, n=name: v.has_what_is_theirs(rights[n]))
        self.phases.append(Phase(self.crier.number + 1, rights, rights))

    def change(self, act: Callable[[], None], alter: Callable[[], None], reloading: str = "") -> None:
        """Does something that changes rights, while messages go out, and waits until it has had its effect."""
        before = self.rights()
        alter()
        after = self.rights()
        must = {name: before[name] & after[name] if name != reloading else frozenset[str]() for name in before}
        # Not before the settled phase: the message that was under way when somebody had joined need not be theirs.
        first = max(self.crier.number, self.phases[-1].first)
        self.phases.append(Phase(first, must, {name: before[name] | after[name] for name in before}))
        self.wait_for_all_of(first, before)
        act()
        if reloading:
            self.visitors[reloading].visit()
        self.settle()

    def wait_for_all_of(self, number: int, rights: Rights) -> None:
        """Waits until everyone has heard the message of this number wherever they may; what came before, they have."""
        for name, visitor in self.visitors.items():
            for group in rights[name]:
                wait_until(lambda v=visitor, g=group: v.last(g) >= number)

    def end(self) -> None:
        rights = self.rights()
        wait_until(lambda: self.crier.number > self.phases[-1].first)
        count = self.crier.end()
        self.wait_for_all_of(count - 1, rights)
        for name, visitor in self.visitors.items():
            self.check(name, visitor.listen(), count)
            visitor.context.close()

    def check(self, name: str, heard: list[tuple[str, int]], count: int) -> None:
        groups = self.crier.groups.split()
        for group in groups:
            numbers = [number for each, number in heard if each == group]
            assert numbers == sorted(set(numbers)), f"{name} heard {group} twice or out of order"
            for number in range(count):
                phase = [each for each in self.phases if each.first <= number or each is self.phases[0]][-1]
                if group in phase.must[name]:
                    assert number in numbers, f"{name} missed {number} of {group}"
                elif group not in phase.may[name]:
                    assert number not in numbers, f"{name} heard {number} of {group}"


@pytest.fixture
def scene(daphne: Callable[..., Daphne], site: Site, browser: Browser) -> Iterator[Scene]:
    site.shell(USERS)
    scene = Scene(daphne(DJANGO_SETTINGS_MODULE="tests.browser.audience_settings"), browser)
    yield scene
    scene.crier.ending.set()
    for visitor in scene.visitors.values():
        visitor.context.close()


def random_change(scene: Scene, chance: random.Random) -> None:
    """Gives somebody a right or takes it away, or signs them in or out in one of the ways there are."""
    name = chance.choice(["ann", "bob"])
    member, visitor = scene.members[name], scene.visitors[name]
    if not member.signed_in:
        scene.change(
            lambda: visitor.elsewhere(f"/in/{name}/"), lambda: setattr(member, "signed_in", True), reloading=name
        )
        return
    what = chance.choice(["is_staff", "permission", "red", "blue", "is_active", "out", "password", "session"])
    if "is_active" not in member.flags:
        what = "is_active"
    if what in ("out", "password", "session"):
        path = "/out/" if what == "out" else f"/change/{what}/{name}/"
        act = (lambda: visitor.elsewhere(path)) if what == "out" else (lambda: fetch(scene.server, path) and None)
        scene.change(act, lambda: setattr(member, "signed_in", False))
        return
    gains = what not in member.flags
    query = ({"on": ""} if gains else {}) | ({"quietly": ""} if chance.random() < 0.3 else {})
    scene.change(
        lambda: fetch(scene.server, f"/change/{what}/{name}/", **query) and None,
        lambda: member.flags.symmetric_difference_update({what}),
        reloading=name if gains and what == "is_active" else "",
    )


def test_each_gets_what_is_theirs_and_nothing_else(scene):
    chance = random.Random(SEED)
    scene.begin()
    for _ in range(ROUNDS):
        random_change(scene, chance)
    scene.end()
