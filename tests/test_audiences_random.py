"""Two users and a guest, and thirty random changes: each gets what is theirs and nothing else."""

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group as UserGroup
from django.contrib.auth.models import Permission, User

from broadcast import asend
from broadcast.access import revalidation
from broadcast.access.audiences import group_for
from tests.tabs import GROUPS, Tab, after_passes, signed_in

CHANGES = 30
pytestmark = pytest.mark.django_db(transaction=True)

invited: set[tuple[str, str]] = set()
"""Who may see which ticket; guests are called guest."""


def may(user: Any, action: str, group: str) -> bool | None:
    if not group.startswith("ticket."):
        return None
    return (user.username if user else "guest", group) in invited


class Visitor:
    """One of the three: a page, the rights behind it by this test's own account, and what must have arrived."""

    def __init__(self, name: str, groups: list[str]) -> None:
        self.name = name
        self.groups = groups
        self.rights: set[str] = {"broadcast"}
        self.tab: Tab
        self.user: Any = None

    async def come(self) -> None:
        cookies = None
        if self.name != "guest":
            # The admin's page signs in staff only.
            self.user = await User.objects.acreate_user(self.name, password="secret", is_staff=True)
            cookies = (await signed_in(self.name)).cookies
            await User.objects.filter(pk=self.user.pk).aupdate(is_staff=False)
            self.rights |= {"members", group_for(self.user)}
        self.tab = await Tab(cookies).follow()
        self.followed: set[str] = set()

    async def ask_for_everything(self) -> None:
        """Subscribes to whatever is not followed: what is allowed is welcomed, and the rest refused."""
        for group in sorted(set(self.groups) - self.followed):
            frame = await self.tab.ask(type="subscribe", group=group)
            expected = "welcome" if group in self.rights else "error"
            assert (frame["type"], frame["group"]) == (expected, group), (self.name, frame)
        self.followed = self.rights & set(self.groups)

    async def hears_of_losses(self) -> None:
        lost = self.followed - self.rights
        told = {(await self.tab.hear())["group"] for _ in lost}
        assert told == lost, self.name
        self.followed -= lost

    async def hears_exactly(self, sent: list[tuple[str, str]]) -> None:
        expected = sorted(pair for pair in sent if pair[0] in self.rights)
        frames = [await self.tab.hear() for _ in expected]
        assert sorted((frame["group"], frame["body"]) for frame in frames) == expected, self.name
        await self.tab.hears_nothing()


@pytest.fixture
async def visitors(settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Visitor]]:
    settings.BROADCAST = {
        "GROUPS": GROUPS,
        "POLICY": may,
        "LIMITS": {"MESSAGE_BURST": 10_000, "SUBSCRIBE_BURST": 10_000},
    }
    monkeypatch.setattr(revalidation, "PASS_SECONDS", 0.02)
    monkeypatch.setattr(revalidation, "EVENT_DELAY", 0.0)
    invited.clear()
    groups = ["broadcast", "members", "editors", "staff", "ticket.1", "ticket.2", "ticket.3"]
    found = [Visitor(name, groups) for name in ("ann", "bob", "guest")]
    for visitor in found:
        await visitor.come()
        if visitor.user:
            groups.append(group_for(visitor.user))
    yield found
    for visitor in found:
        await visitor.tab.leave()


def turn(rights: set[str], right: str) -> bool:
    """Gives a right that was not there, or takes it away; whether it is there now."""
    rights.symmetric_difference_update({right})
    return right in rights


async def change(rng: random.Random, visitors: list[Visitor]) -> None:
    """One right of one visitor, in one of the ways in which a site gives it."""
    visitor = rng.choice(visitors)
    await rng.choice([turn_ticket, turn_staff, turn_editor] if visitor.user else [turn_ticket])(rng, visitor)


async def turn_ticket(rng: random.Random, visitor: Visitor) -> None:
    ticket = f"ticket.{rng.randint(1, 3)}"
    turn(visitor.rights, ticket)
    invited.symmetric_difference_update({(visitor.name, ticket)})


async def turn_staff(rng: random.Random, visitor: Visitor) -> None:
    is_staff = turn(visitor.rights, "staff")
    if rng.random() < 0.5:
        await User.objects.filter(pk=visitor.user.pk).aupdate(is_staff=is_staff)
    else:
        user = await User.objects.aget(pk=visitor.user.pk)
        user.is_staff = is_staff
        await user.asave()


async def turn_editor(rng: random.Random, visitor: Visitor) -> None:
    permission = await Permission.objects.aget(content_type__app_label="broadcast", codename="add_message")
    group, _ = await UserGroup.objects.aget_or_create(name="editors")
    if not turn(visitor.rights, "editors"):
        await visitor.user.user_permissions.aclear()
        await visitor.user.groups.aclear()
    elif rng.random() < 0.5:
        await visitor.user.user_permissions.aadd(permission)
    else:
        await group.permissions.aadd(permission)
        await visitor.user.groups.aadd(group)


@pytest.mark.no_cover  # of what it runs, others have run each line
@pytest.mark.parametrize("seed", [1, 2])
async def test_each_gets_what_is_theirs_and_nothing_else(visitors, seed):
    rng = random.Random(seed)
    for number in range(CHANGES):
        for visitor in visitors:
            await visitor.ask_for_everything()
        await change(rng, visitors)
        await after_passes()
        for visitor in visitors:
            await visitor.hears_of_losses()
            await visitor.ask_for_everything()
        sent = [(group, f"{number} to {group}") for group in visitors[0].groups]
        users = {group_for(visitor.user): visitor.user for visitor in visitors if visitor.user}
        for group, body in rng.sample(sent, len(sent)):
            await asend(body, to=users.get(group, group))
        for visitor in visitors:
            await visitor.hears_exactly(sent)
    assert await sync_to_async(User.objects.count)() == 2
