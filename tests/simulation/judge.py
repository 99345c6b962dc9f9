"""The judge: what docs/guarantees.md promises, held against each frame that a client gets, and against the time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from broadcast.engine.storage.records import VOID
from tests.simulation.truth import NEVER, Era, GroupTruth, Truth

if TYPE_CHECKING:
    from tests.simulation.clients import Place
    from tests.simulation.world import World

SOON = 3.0  # seconds after the commit, with the database well, whatever the layer does
AT_ONCE = 0.8  # seconds, where the layer is well too
POLL = 1.5  # seconds in which each hub has compared itself with the log
GONE = 0.5  # seconds that a look takes at most, with the database well
LINGERS = 0.25  # seconds from the arrival of an event until it has been taken in
WENT_BACK = 30.0  # seconds after which a log that went back is noticed
OTHERS_PATIENCE = 2.0  # seconds after which a send is through where nobody holds its group: half of one is promised
SEND_PATIENCE = 12.0  # seconds after which a send has returned or raised
JOIN_PATIENCE = 5.0  # seconds after which whoever connects is welcomed


@dataclass
class Sent:
    """A message that somebody sent, and what they were told became of it."""

    body: str
    group: str
    started_at: float
    is_logged: bool = True
    returned_at: float = NEVER
    outcome: str = "under way"  # sent, unknown, not sent
    arrivals: dict[Any, float] = field(default_factory=dict)  # of an ephemeral one, in each process
    turn: tuple[int, int] | None = None  # in which transaction, and where in it
    by: Any = None  # the process, where nothing but the log keeps the sender


class Judge:
    """Collects what is not as promised."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.violations: list[str] = []
        self.truth = Truth(self.complain)
        self.sent: dict[str, Sent] = {}
        self.restored_at: list[float] = []
        self.erased_at: dict[str, list[float]] = {}

    def complain(self, text: str) -> None:
        self.violations.append(f"at {self.now:.4f}: {text}")
        self.world.note("VIOLATION", text)

    @property
    def now(self) -> float:
        return self.world.scheduler.now

    # Frames

    def on_welcome(self, place: Place, fields: dict[str, Any]) -> None:
        if place.group == self.truth.spoilt:
            return
        group, epoch, offset = self.truth.of(place.group), fields["epoch"], fields["offset"]
        era = group.find(epoch)
        if offset is None or era is None or offset > max(era.head, *era.entries, 0, 0):
            self.complain(f"{place}: welcomed to a place that never was: {fields}")
        elif place.asked[1] is None:
            pass
        elif fields["recovered"]:
            stays = epoch == place.asked[0] or place.asked == (VOID, 0)
            if not stays or offset != place.asked[1]:
                self.complain(f"{place}: recovered, but elsewhere: {fields}")
            elif offset < era.floor_at(place.asked_at - self.gone - POLL):
                self.complain(f"{place}: recovered, and what follows is gone up to {era.floor}: {fields}")
        elif self._could_recover(group, place):
            self.complain(f"{place}: told of a loss, and nothing is lost: {fields}")

    def _could_recover(self, group: GroupTruth, place: Place) -> bool:
        """True if all that comes after a place was there, ever since it was asked for."""
        (epoch, offset), era, floor = place.asked, group.era, group.era.floor
        if group.went_back or offset is None:
            return False
        if (epoch, offset) == (VOID, 0):
            return floor == 0 and era.begin == 0 and (era.is_current(place.asked_at) or era.epoch == VOID)
        return era.epoch == epoch and era.is_current(place.asked_at) and floor <= offset <= era.head

    def on_message(self, place: Place, fields: dict[str, Any]) -> None:
        if place.group == self.truth.spoilt:
            return
        offset, body = fields["offset"], fields["body"]
        if offset is None:
            self._on_ephemeral(place, body)
            return
        if offset != (place.offset or 0) + 1:
            self.complain(f"{place}: {offset} came")
        era = self.truth.of(place.group).find(place.epoch)
        entry = era.entries.get(offset) if era else None
        if entry is None or entry.body != body:
            self.complain(f"{place}: {offset} came as {body!r}; the log has {entry}")

    def _on_ephemeral(self, place: Place, body: str) -> None:
        sent = self.sent.get(body)
        if sent is None or sent.group != place.group:
            self.complain(f"{place}: {body!r} came, which nobody sent there")
            return
        if body in place.ephemerals:
            self.complain(f"{place}: {body!r}, which is ephemeral, came twice on one connection")
        place.ephemerals.add(body)
        arrival = sent.arrivals.get(place.connection.process, NEVER)
        if max(arrival, place.connection.process.frozen_until) + LINGERS < place.connection.begun_at:
            self.complain(f"{place}: {body!r}, which is ephemeral, is from before it came")

    def on_arrival(self, process: Any, event: dict[str, Any]) -> None:
        """An event has come to a process, over the layer."""
        for fields in [event, *event.get("more", [])]:
            sent = self.sent.get(fields.get("body", ""))
            if sent is not None and not sent.is_logged:
                sent.arrivals[process] = self.now

    def on_reset(self, place: Place, fields: dict[str, Any]) -> None:
        if place.group == self.truth.spoilt:
            return
        group, epoch, offset = self.truth.of(place.group), fields["epoch"], fields["offset"]
        era, before = group.find(epoch), group.find(place.epoch)
        if era is None or before is None:
            self.complain(f"{place}: reset to an epoch that never was: {fields}")
        elif not fields.get("lost", True):
            if place.epoch != VOID or offset != 0 or era.begin != 0:
                self.complain(f"{place}: told that nothing is lost: {fields}")
        elif era is before:
            if not group.went_back and not (place.offset or 0) < offset <= era.floor:
                self.complain(f"{place}: reset within an epoch, floor {era.floor}: {fields}")
        elif before.ended_at == NEVER:
            self.complain(f"{place}: its epoch goes on, and it was told otherwise: {fields}")
        elif offset < era.floor_at(self.now - self.gone) and place.connection.opened_at < self.now - self.gone:
            self.complain(f"{place}: reset to a place that is gone, the floor being {era.floor}: {fields}")
        elif not era.begin <= offset <= max(era.begin, era.floor):
            self.complain(f"{place}: what is kept from {max(era.begin, era.floor)} on is skipped: {fields}")

    # Time

    @property
    def gone(self) -> float:
        """After so long a hub that tells of an epoch knows what was pruned of it."""
        return GONE if self.world.plan.pace == 1 else 4 * GONE

    @property
    def soon(self) -> float:
        """What is read is read in several steps, each of which may take a while on a slow database."""
        return SOON if self.world.plan.pace == 1 else 2 * SOON

    def look(self) -> None:
        """Whether everything is as soon as promised, at this moment."""
        well_since = self.world.database.unwell_until
        for client in self.world.clients:
            if client.connection is None or client.connection.is_shut:
                continue
            since = max(well_since, client.connection.opened_at, client.connection.process.frozen_until)
            for place in client.places.values():
                self._look_at(place, since)
        for group in self.world.plan.history:
            if self.world.database.is_held(group, 0.05):
                self.world.locked_until[group] = self.now
        for sent in self.sent.values():
            if sent.outcome == "under way":
                self._look_at_sender(sent, max(well_since, sent.started_at))

    def _look_at_sender(self, sent: Sent, since: float) -> None:
        let_go = max(since, self.world.locked_until.get(sent.group, 0.0))
        if self.now > (since if sent.turn is None else let_go) + SEND_PATIENCE:  # each statement of a transaction waits
            sent.outcome = "for ever"
            self.complain(f"the send of {sent.body!r} does not return")
        elif sent.by is None or sent.by.is_dead or self.world.plan.pace != 1:
            return
        elif self.now > max(let_go, sent.by.frozen_until) + OTHERS_PATIENCE:
            self.complain(f"the send of {sent.body!r} waits, and nobody holds {sent.group}")

    def _look_at(self, place: Place, since: float) -> None:
        if place.group == self.truth.spoilt:
            return
        if not place.is_live:
            if self.now > max(since, place.asked_at) + JOIN_PATIENCE:
                self.complain(f"{place}: not welcomed since {place.asked_at:.3f}")
            return
        group = self.truth.of(place.group)
        era = group.era
        since = max(since, place.live_at)
        if era.epoch != place.epoch:
            patience = WENT_BACK if era.went_back or era.epoch == VOID else self.soon
            if self.now > max(since, era.started_at) + patience:
                self.complain(f"{place}: not told of {era.epoch}, which began at {era.started_at:.3f}")
        elif era.head > (place.offset or 0):
            self._look_at_next(place, era, since)
        if group.waiting:
            self._look_at_waiting(place, group, since)

    def _look_at_next(self, place: Place, era: Era, since: float) -> None:
        offset = max(place.offset or 0, era.floor) + 1
        entry = era.entries.get(offset)
        begun = entry.visible_at if entry is not None else max(at for at, _ in era.floors)
        patience = WENT_BACK if era.went_back else self.soon
        is_well = max(self.world.database.unwell_until, since) < begun
        by = entry.by if entry is not None else None  # of whom nobody is told what nobody's process has put there
        is_told = by is not None and not (by.is_dead or by.frozen_until > begun - POLL)
        if self.world.is_prompt and is_well and is_told:
            patience = AT_ONCE
        if self.now > max(since, begun) + patience:
            self.complain(f"{place}: {offset}, committed at {begun:.3f}, has not come by {self.now:.3f}")

    def _look_at_waiting(self, place: Place, group: GroupTruth, since: float) -> None:
        """Who sees to what waits in a group may have to wait for whoever holds it."""
        body, begun = next(iter(group.waiting.values()))
        if self.now > max(since, begun, self.world.locked_until.get(place.group, 0.0)) + self.soon + 0.5:
            self.complain(f"{place}: {body!r}, committed at {begun:.3f}, still waits for an offset")

    # The end

    @property
    def is_settled(self) -> bool:
        """True if nothing is under way and nobody has anything left to get."""
        return not (self._unfinished() or any(sent.outcome == "under way" for sent in self.sent.values()))

    def _unfinished(self) -> list[str]:
        """What clients have not got, and what they said and were not told of."""
        found = []
        for client in self.world.clients:
            if any(group != self.truth.spoilt for group, _ in client.outbox.values()):
                found.append(f"{client.name}: never told of {client.outbox}")
        for client in self.world.clients:
            for place in client.places.values():
                group = self.truth.of(place.group)
                if place.group == self.truth.spoilt:
                    continue
                if not place.is_live or (place.epoch, place.offset) != (group.era.epoch, group.era.head):
                    found.append(f"{place}: in the end {place.group} is at {group.era.epoch} {group.era.head}")
                if group.waiting:
                    found.append(f"{place}: in the end {group.waiting} wait")
        return found

    def conclude(self) -> None:
        """Everything works and some seconds went by: now everybody has everything, and every send has its outcome."""
        for text in self._unfinished():
            self.complain(text)
        places: dict[str, tuple[int, int]] = {}
        for group in self.truth.groups.values():
            for number, era in enumerate(group.eras):
                for offset, entry in era.entries.items():
                    if entry.body not in places:
                        places[entry.body] = (number, offset)
                    elif entry.by is not None:  # else it is kept from an epoch before
                        self._complain_of_double(entry.body, group.eras[places[entry.body][0]], places[entry.body][1])
        waiting = {body for group in self.truth.groups.values() for body, _ in group.waiting.values()}
        for sent in [each for each in self.sent.values() if each.group != self.truth.spoilt]:
            self._conclude_sent(sent, sent.body in places or sent.body in waiting)
        kept = [group.kept() for group in self.truth.groups.values()]
        self._conclude_order({body: place for each in kept for body, place in each.items()})

    def _complain_of_double(self, body: str, era: Era, offset: int) -> None:
        """A ref is known for as long as its message is kept."""
        sent = self.sent.get(body)
        if sent is None or sent.group == self.truth.spoilt:
            return  # it was there in the beginning, or is where nothing holds
        is_kept = offset > max(era.floor, self.truth.of(sent.group).era.floor)
        if is_kept and not self._was_lost(sent):
            self.complain(f"{body!r} is in the log twice")

    def _conclude_sent(self, sent: Sent, is_there: bool) -> None:
        if sent.outcome == "sent" and sent.is_logged and not is_there and not self._was_lost(sent):
            self.complain(f"{sent.body!r} was sent and is not in the log")
        if sent.outcome == "not sent" and is_there:
            self.complain(f"{sent.body!r} was not sent, and is in the log")
        if sent.outcome == "under way":
            self.complain(f"the send of {sent.body!r} is still under way")

    def _was_lost(self, sent: Sent) -> bool:
        """True if a backup from before it was sent has been restored since, or it was erased as it waited."""
        return any(at >= sent.started_at for at in [*self.restored_at, *self.erased_at.get(sent.group, [])])

    def _conclude_order(self, places: dict[str, tuple[int, int]]) -> None:
        """Whoever began to send after another send had returned comes later."""
        known = [each for each in self.sent.values() if each.group != self.truth.spoilt]
        sent = [each for each in known if each.outcome == "sent" and each.body in places]
        for group in {each.group for each in sent}:
            members = [each for each in sent if each.group == group]
            for later in members:
                for earlier in members:
                    is_wrong = comes_first(earlier, later) and places[earlier.body] > places[later.body]
                    # A backup may take back the later one, and bring back the earlier, which waited then.
                    if is_wrong and not any(at > later.started_at for at in self.restored_at):
                        self.complain(f"{later.body!r} was sent after {earlier.body!r} and comes before it")
                        return


def comes_first(earlier: Sent, later: Sent) -> bool:
    """True if the one was sent before the other, as far as anybody can tell."""
    if earlier.turn and later.turn and earlier.turn[0] == later.turn[0]:
        return earlier.turn < later.turn
    return earlier.returned_at < later.started_at
