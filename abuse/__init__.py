"""A site under abuse: hostile clients of every kind, while honest ones chat and load pages; then who was hurt.

`python -m abuse --seconds 60 --seed 1` runs it. `attacks` says what hostile clients do, `horde` does it in a process of
its own, `honest` are those whom it must not hurt, `house` is the site, `report` judges and prints. The site's server
loads `settings` and `asgi`.
"""

HALL = "broadcast"  # where honest clients chat
PIT = "pit"  # where anybody may write, and nobody honest listens
ARCHIVE = "archive"  # full of the largest messages that there may be, for whoever asks for all of them
WRITTEN_TO = {HALL, PIT, ARCHIVE}
READ_ONLY = "room"  # room.<anything>: open to be read, and nobody ever writes there
