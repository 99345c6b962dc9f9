"""The archive: every message and every epoch that the log ever had, kept by triggers in its own database.

What is pruned, erased or overwritten by a backup stays known, with the moment of its commit.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

TRIGGERS = """
CREATE SEQUENCE chaos_number;
CREATE TABLE chaos_message (
    number bigint DEFAULT nextval('chaos_number'), xact xid8 DEFAULT pg_current_xact_id(),
    epoch text, id bigint, group_name text, "offset" bigint, source text, author text, body text, data jsonb,
    ref uuid, sent_at timestamptz
);
CREATE TABLE chaos_group (
    number bigint DEFAULT nextval('chaos_number'), xact xid8 DEFAULT pg_current_xact_id(),
    name text, epoch text, head bigint, "begin" bigint, floor bigint, is_restored boolean DEFAULT false
);
CREATE FUNCTION chaos_keep_message() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos_message (epoch, id, group_name, "offset", source, author, body, data, ref, sent_at) VALUES (
        (SELECT epoch FROM broadcast_group WHERE name = NEW.group_name), NEW.id, NEW.group_name, NEW."offset",
        NEW.source, NEW.author, NEW.body, NEW.data, NEW.ref, NEW.sent_at);
    RETURN NULL;
END $$;
CREATE FUNCTION chaos_keep_group() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO chaos_group (name, epoch, head, "begin", floor) VALUES (OLD.name, 'void', 0, 0, 0);
    ELSE
        INSERT INTO chaos_group (name, epoch, head, "begin", floor)
            VALUES (NEW.name, NEW.epoch, NEW.head, NEW."begin", NEW.floor);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_inserted AFTER INSERT ON broadcast_message
    FOR EACH ROW EXECUTE FUNCTION chaos_keep_message();
CREATE TRIGGER chaos_sequenced AFTER UPDATE ON broadcast_message
    FOR EACH ROW WHEN (OLD."offset" IS NULL AND NEW."offset" IS NOT NULL) EXECUTE FUNCTION chaos_keep_message();
CREATE TRIGGER chaos_group_comes_or_goes AFTER INSERT OR DELETE ON broadcast_group
    FOR EACH ROW EXECUTE FUNCTION chaos_keep_group();
CREATE TRIGGER chaos_group_changes AFTER UPDATE ON broadcast_group
    FOR EACH ROW WHEN ((OLD.epoch, OLD.floor) IS DISTINCT FROM (NEW.epoch, NEW.floor))
    EXECUTE FUNCTION chaos_keep_group();
"""

MESSAGES = """
SELECT number, extract(epoch FROM pg_xact_commit_timestamp(xact::xid))::float8, epoch, id,
    group_name, "offset", source, author, body, data, ref::text, sent_at
FROM chaos_message ORDER BY number
"""
EPOCHS = """
SELECT number, extract(epoch FROM pg_xact_commit_timestamp(xact::xid))::float8, name, epoch, head, "begin", floor,
    is_restored
FROM chaos_group ORDER BY number
"""
GROUPS_NOW = "SELECT name, epoch, head, floor FROM broadcast_group"
OFFSETS_NOW = 'SELECT group_name, "offset" FROM broadcast_message ORDER BY group_name, "offset"'


class Row(NamedTuple):
    """A message as the log had it, when it was written or when it got its offset; ``at`` is that commit's time."""

    number: int
    at: float
    epoch: str
    id: int
    group: str
    offset: int | None
    source: str
    author: str
    body: str
    data: Any
    ref: str
    sent_at: datetime | None


class Change(NamedTuple):
    """A group's row after it came, changed its epoch or its floor, went (the void epoch), or was restored."""

    number: int
    at: float
    group: str
    epoch: str
    head: int
    begin: int
    floor: int
    is_restored: bool


class Now(NamedTuple):
    """A group as it is in the log now."""

    epoch: str
    head: int
    floor: int


FrameKey = tuple[str, int | None, str, datetime | None]
Identity = tuple[str, str, int]
"""What a message keeps from when it was written until it gets its offset: group, ref and key."""


@dataclass(slots=True)
class Archive:
    """All that was ever committed, in order."""

    rows: list[Row]
    changes: list[Change]

    def logged(self) -> list[Row]:
        """Every message that got an offset."""
        return [row for row in self.rows if row.offset is not None]

    def by_frame(self) -> dict[FrameKey, Row]:
        """Every message that got an offset, by what a frame tells of it; a backup may have it given to it twice."""
        return {(row.group, row.offset, row.ref, row.sent_at): row for row in self.logged()}

    def written(self) -> dict[Identity, Row]:
        """Every message as it was first written."""
        first: dict[Identity, Row] = {}
        for row in self.rows:
            first.setdefault(identity(row), row)
        return first


def identity(row: Row) -> Identity:
    return row.group, row.ref, row.id


def frame_key(fields: dict[str, Any]) -> FrameKey:
    return fields["group"], fields["offset"], fields["ref"], datetime.fromisoformat(fields["sent_at"])


def install(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(TRIGGERS)


def read_archive(url: str) -> Archive:
    with psycopg.connect(url) as connection:
        rows = [Row(*row) for row in connection.execute(MESSAGES)]
        return Archive(rows, [Change(*row) for row in connection.execute(EPOCHS)])


def read_groups(url: str) -> dict[str, Now]:
    with psycopg.connect(url) as connection:
        return {name: Now(*rest) for name, *rest in connection.execute(GROUPS_NOW)}


def read_offsets(url: str) -> dict[str, list[int | None]]:
    """The offsets that each group has in the log now; None for what waits."""
    offsets: dict[str, list[int | None]] = defaultdict(list)
    with psycopg.connect(url) as connection:
        for name, offset in connection.execute(OFFSETS_NOW):
            offsets[name].append(offset)
    return offsets
