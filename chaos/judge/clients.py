"""What clients saw: each message once, in order, as the log had it, and a true word wherever they missed something."""

from collections import defaultdict
from collections.abc import Mapping

from chaos import GROUPS, key_of, text_of
from chaos.book import Book, Frame
from chaos.judge.archive import Archive, Now, frame_key
from chaos.judge.timeline import Place, Timeline
from chaos.judge.verdict import Verdict
from chaos.ledger import EPHEMERAL, Ledger
from chaos.readers import Reader


def timelines(archive: Archive) -> dict[str, Timeline]:
    changes, rows = defaultdict(list), defaultdict(list)
    for change in archive.changes:
        changes[change.group].append(change)
    for row in archive.logged():
        rows[row.group].append(row)
    return {name: Timeline(changes[name], rows[name]) for name in GROUPS}


def check_frames(verdict: Verdict, book: Book, ledger: Ledger, archive: Archive, lines: Mapping[str, Timeline]) -> None:
    """Every frame that any client got says what the log said, at a place of the log where it stood."""
    logged = archive.by_frame()
    for frame in book.frames.values():
        if frame.offset is None:
            check_ephemeral(verdict, frame, ledger)
            continue
        row = logged.get(frame_key(frame.fields))
        if row is None or told_in(frame) != row[6:10]:
            verdict.add("frame not as in the log", f"{frame.fields} for {row}")
        for epoch in frame.epochs:
            if not lines[frame.fields["group"]].holds(Place(epoch, frame.offset), frame.ref):
                verdict.add("told in a wrong epoch", f"{frame.fields} in {epoch} for {row}")


def told_in(frame: Frame) -> tuple[object, ...]:
    """What a frame says, in the order of an archived row's columns."""
    fields = frame.fields
    return (*(fields[name] for name in ("source", "author", "body")), fields.get("data"))


def check_ephemeral(verdict: Verdict, frame: Frame, ledger: Ledger) -> None:
    """What is in no log was sent as such, to that group and with that text."""
    key = key_of(frame.fields["body"])
    entry = ledger.entries.get(key)
    if entry is None or entry.act not in EPHEMERAL:
        verdict.add("ephemeral from nobody", str(frame.fields))
    elif (entry.group, text_of(key)) != (frame.fields["group"], frame.fields["body"]):
        verdict.add("ephemeral changed on its way", str(frame.fields))


def check_reader(verdict: Verdict, reader: Reader, now: Mapping[str, Now], lines: Mapping[str, Timeline]) -> None:
    """It was moved by true words alone, and ended at the head of the epoch that there is."""
    for kind, count in reader.mistakes.items():
        example = next((event for event in reader.events if f"MISTAKE {kind}" in event), "")
        verdict.add(kind, f"{reader.name}: {count}, such as {example}", count)
    for step in reader.steps:
        if complaint := lines[step.group].complaint(step):
            verdict.add("not true", f"{step}: {complaint}")
    for group in reader.groups:
        name = GROUPS[group]
        place = Place(reader.epochs.get(group, ""), reader.positions[group])
        if name not in now or place != Place(now[name].epoch, now[name].head):
            verdict.add("did not reach the head", f"{reader.name} is at {place} of {name}: {now.get(name)}")
