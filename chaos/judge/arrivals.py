"""Arrivals: when a message came to the clients that were there for it."""


class Arrivals:
    """The times of one message, on one clock: tried by its publisher, first heard, last heard.

    It was committed between ``tried_at`` and ``first_at``. For clients that were live before that only the last
    arrival counts; others wait from the moment since which they are live.
    """

    __slots__ = ("catch_up", "first_at", "last_at", "others", "tried_at")

    def __init__(self, tried_at: float, first_at: float) -> None:
        self.tried_at = tried_at
        self.first_at = first_at
        self.last_at = 0.0
        self.catch_up = (0.0, 0.0)  # the longest wait of those who came when others had it: since when, until when
        self.others: list[tuple[float, float]] = []

    def add(self, at: float, since: float) -> None:
        """It came to a client that is live ``since`` then."""
        if since <= self.tried_at:
            self.last_at = at
        elif since < self.first_at:
            self.others.append((since, at))
        elif at - since > self.catch_up[1] - self.catch_up[0]:
            self.catch_up = (since, at)

    def waits(self, committed_at: float) -> list[tuple[float, float]]:
        """The longest waits, each from when to when."""
        found = [(max(since, committed_at), at) for since, at in self.others]
        if self.last_at:
            found.append((committed_at, self.last_at))
        if self.catch_up[1]:
            found.append(self.catch_up)
        return found
