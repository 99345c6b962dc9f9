"""The schedule: when which kind of fault comes, to which target, and for how long; drawn from a seed."""

from dataclasses import dataclass
from random import Random

from chaos import GROUPS

EVERY = 0.7  # seconds between two faults, on average
CALM = 3.0  # seconds before the first fault, and that a target is left alone after one
LULL_EVERY, LULL = 40.0, 5.0  # seconds: now and then there is no fault, to see how late messages are without


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the schedule: when, what, to which of its targets, and for how long."""

    at: float
    kind: str
    target: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Kind:
    """How often a kind of fault comes, to how many targets of which sort, and how long it lasts."""

    weight: float
    sort: str
    targets: int
    seconds: tuple[float, float]
    is_for_tutorial: bool = True  # whether the tutorial's consumer and its clients know what is broken


KINDS = {
    "daphne killed": Kind(6, "daphne", 3, (0.0, 3.0)),
    "daphne terminated": Kind(4, "daphne", 3, (0.0, 2.0)),
    "daphne paused": Kind(6, "daphne", 3, (0.5, 8.0)),
    "daphne's clock set back": Kind(3, "clock", 3, (1.0, 9.0)),
    "WSGI server killed": Kind(2, "wsgi", 1, (0.0, 2.0)),
    "WSGI server paused": Kind(2, "wsgi", 1, (0.5, 5.0)),
    "script killed": Kind(3, "script", 2, (0.0, 0.0)),
    "script paused": Kind(3, "script", 2, (0.5, 5.0)),
    "Redis killed, restarted empty": Kind(5, "redis", 1, (0.0, 4.0)),
    "Redis paused": Kind(4, "redis", 1, (1.0, 8.0)),
    "Redis connections dropped": Kind(5, "redis", 1, (0.0, 0.0)),
    "Redis hears nothing": Kind(3, "redis link", 4, (1.0, 8.0)),
    "Redis is not heard": Kind(3, "redis link", 4, (1.0, 8.0)),
    "Redis is far away": Kind(3, "redis link", 4, (1.0, 8.0)),
    "PostgreSQL connections dropped": Kind(8, "postgres", 1, (0.0, 0.0)),
    "PostgreSQL restarted": Kind(3, "postgres", 1, (0.0, 1.0)),
    "PostgreSQL paused": Kind(2, "postgres", 1, (0.5, 3.0)),
    "PostgreSQL hears nothing": Kind(3, "postgres link", 4, (1.0, 8.0)),
    "PostgreSQL is not heard": Kind(3, "postgres link", 4, (1.0, 8.0)),
    "PostgreSQL is far away": Kind(3, "postgres link", 4, (1.0, 8.0)),
    "group locked": Kind(5, "group", len(GROUPS), (1.0, 6.0)),
    "user locked": Kind(3, "user", 1, (1.0, 6.0)),
    "log erased": Kind(4, "log", len(GROUPS), (0.0, 0.0), False),
    "group deleted by hand": Kind(2, "log", len(GROUPS), (0.0, 0.0), False),
    "backup restored": Kind(2, "backup", 1, (1.0, 5.0), False),
    "backup restored and overtaken": Kind(1.5, "backup", 1, (1.0, 5.0), False),
    "clients stalled": Kind(10, "clients", 1, (1.0, 10.0)),
    "group left": Kind(6, "connections_to_drain", len(GROUPS), (0.0, 9.0), False),
    "connections cut": Kind(14, "connections", 1, (0.0, 0.0)),
}


def schedule(seed: str, seconds: float) -> list[Fault]:
    """The faults of a run of that length. The same seed gives the same ones."""
    random = Random(f"{seed}:faults")
    free_at: dict[tuple[str, int], float] = {}
    faults = []
    at = CALM
    while at < seconds:
        name = random.choices(list(KINDS), [kind.weight for kind in KINDS.values()])[0]
        kind = KINDS[name]
        target, lasts = random.randrange(kind.targets), random.uniform(*kind.seconds)
        if free_at.get((kind.sort, target), 0.0) <= at and not reaches_into_a_lull(at, at + lasts):
            faults.append(Fault(at, name, target, lasts))
            recovery = 0.0 if kind.sort in ("clients", "connections") else CALM
            free_at[kind.sort, target] = at + lasts + recovery
        at += random.expovariate(1 / EVERY)
    return faults


def reaches_into_a_lull(begin: float, end: float) -> bool:
    return int((begin + LULL) / LULL_EVERY) < int((end + LULL) / LULL_EVERY) or (begin + LULL) % LULL_EVERY < LULL
