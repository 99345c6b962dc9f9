"""The plan of a seed: how the world is made, and what is done to it when. All else follows from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

ACTIVE = 10.0  # seconds in which things happen

# How often each comes.
WEIGHTS = {
    "send": 34,
    "ephemeral": 8,
    "transaction": 10,
    "say": 12,
    "say_and_go": 6,
    "subscribe_again": 4,
    "connect": 10,
    "drop": 14,
    "hurry": 8,
    "arrive": 8,
    "part": 8,
    "shut": 6,
    "freeze": 4,
    "freeze_in_transaction": 4,
    "kill": 4,
    "interrupt": 3,
    "hold": 4,
    "besiege": 2,
    "slow": 2,
    "away": 3,
    "away_after_commit": 3,
    "lose_commit": 3,
    "layer_away": 4,
    "prune": 4,
    "erase": 3,
    "restore": 4,
    "renew": 1,
    "delete": 1,
    "spoil": 1,
    "set_clock": 2,
}


@dataclass(frozen=True)
class Act:
    """Something that is done to the world, by the name of a method of Mishaps."""

    at: float
    name: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.at:7.3f} {self.name}({', '.join(f'{key}={value!r}' for key, value in self.arguments.items())})"


@dataclass
class Plan:
    """The world of a seed."""

    seed: int
    daphnes: int
    senders: int
    clients: list[list[str]]
    losses: float
    pace: float  # of the database: how many times slower than a quick one
    history: dict[str, int]
    acts: list[Act] = field(default_factory=list)

    @property
    def has_layer(self) -> bool:
        """False for a site whose processes tell each other without one."""
        return self.seed % 4 != 0


def plan(seed: int, groups: tuple[str, ...]) -> Plan:
    chance = random.Random(f"{seed} plan")
    clients = [chance.sample(groups, chance.choice([1, 1, 2, 3])) for _ in range(chance.randint(1, 4))]
    losses = chance.choice([0.0, 0.0, 0.2, 0.6, 1.0])
    history = {group: chance.choice([0, 0, 3, 15, 30]) for group in groups}
    pace = chance.choice([1, 1, 1, 20])
    made = Plan(seed, chance.randint(2, 4), chance.randint(1, 2), clients, losses, pace, history)
    count = chance.choice([4, 8, 16, 30])
    times = sorted(chance.uniform(0.05, ACTIVE) for _ in range(count))
    if chance.random() < 0.4:  # some of it at once
        middle = chance.uniform(1, ACTIVE)
        times = sorted(middle + chance.uniform(0, 0.3) if chance.random() < 0.6 else at for at in times)
    # Mostly in one group, and only a few kinds of things, so that they meet more often than by chance among all.
    places = groups + 4 * (chance.choice(groups),)
    kinds = chance.sample([*WEIGHTS], chance.randint(3, len(WEIGHTS)))
    kinds += ["send"]
    for at in times:
        name = chance.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
        made.acts.append(Act(round(at, 4), name, arguments(name, chance, places)))
    return made


def arguments(name: str, chance: random.Random, groups: tuple[str, ...]) -> dict[str, Any]:
    """What an act is given; numbers choose among whatever there is by then."""
    who = chance.randrange(100)
    group = chance.choice(groups)
    seconds = round(chance.choice([0.3, 1.5, 4.0]) * chance.random(), 3)
    match name:
        case "send":
            count = chance.choice([1, 1, 1, 2, 4, 25])
            return {
                "who": who,
                "group": group,
                "count": count,
                "way": chance.choice(["single", "many", "again", "typing"]),
            }
        case "ephemeral":
            return {"who": who, "group": group, "count": chance.choice([1, 3, 12, 40])}
        case "transaction":
            more = chance.choice(groups)
            return {"who": who, "groups": [group, more], "commits": chance.random() < 0.8, "seconds": min(seconds, 1.5)}
        case "say" | "say_and_go":
            return {"who": who, "count": chance.choice([1, 1, 3, 6])}
        case "connect":
            return {"groups": chance.sample(sorted({*groups}), chance.choice([1, 1, 2, 3]))}
        case "kill" | "interrupt" | "subscribe_again":
            return {"who": who}
        case "hurry":
            return {"who": who, "times": chance.choice([1, 3, 8])}
        case "drop" | "shut" | "freeze" | "freeze_in_transaction":
            return {"who": who, "seconds": seconds}
        case "hold":
            return {"who": who, "group": group, "seconds": seconds}
        case "besiege":
            return {"who": who, "group": group, "seconds": round(chance.uniform(4, 8), 3)}
        case "slow" | "away" | "away_after_commit":
            return {"seconds": seconds}
        case "layer_away":
            return {"seconds": seconds, "hangs": chance.random() < 0.5, "forgets": chance.random() < 0.5}
        case "lose_commit":
            return {"when": chance.choice(["before", "after"]), "seconds": chance.choice([0.0, seconds])}
        case "erase" | "renew":
            return {"who": who, "group": group, "count": chance.choice([0, 1, 4]), "prunes": chance.random() < 0.4}
        case "arrive":
            return {"who": who, "group": group, "count": chance.choice([1, 3])}
        case "part":
            return {"who": who, "group": group, "seconds": round(chance.uniform(0.3, 2), 3)}
        case "prune":
            return {"who": who, "group": group, "keep": chance.choice([1, 3, 10])}
        case "restore":
            back, is_told = round(chance.uniform(0.2, 5), 3), chance.random() < 0.7
            return {"who": who, "group": group, "back": back, "is_told": is_told, "count": chance.choice([0, 1, 8])}
        case "set_clock":
            return {"who": who, "seconds": chance.choice([-3600.0, -2.0, 90.0])}
        case _:
            return {"who": who, "group": group}
