"""The directories in which processes that share a database find each other's sockets.

For SQLite it is beside the database file: whoever can use the database finds it and may write there, as SQLite itself
does with ``-wal`` and ``-shm``, and nobody else. For other databases it is where a system keeps what runs.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.db.backends.base.base import BaseDatabaseWrapper

SHARED = Path("/run/broadcast")  # the RuntimeDirectory of the units in deploy/systemd
DESCRIPTORS = "/proc/self/fd"
FULL = {errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS}
PRIVATE = 0o700
WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Place:
    """Where a directory of sockets is or may be made, whose it may be, and who may write there at most.

    ``owners`` is None where only those can have made it who may replace the database as well. ``like`` is the owner and
    the group that it is given.
    """

    path: str
    owners: frozenset[int] | None
    mode: int
    like: tuple[int, int]


def places_of(database: BaseDatabaseWrapper) -> list[Place]:
    """The places for a database, the best first; none for one in memory. Listeners take the first, senders look in all.

    Raises OSError where the database is in no directory.
    """
    named = database.settings_dict
    if database.vendor == "sqlite":
        file = sqlite_file(str(named["NAME"]))
        return [] if file is None else [place_beside(file), *runtime_places(digest_of("sqlite", str(file)))]
    address = [str(named.get(key) or "") for key in ("HOST", "PORT", "NAME")]
    return runtime_places(digest_of(database.vendor, *address, str(named["OPTIONS"].get("service") or "")))


def digest_of(*identity: str) -> str:
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


@lru_cache(maxsize=16)
def sqlite_file(name: str) -> Path | None:
    """The file of an SQLite database, without symbolic links; None if it is in memory."""
    if name.startswith("file:"):
        url = urlsplit(name)
        in_memory = "mode=memory" in url.query or ":memory:" in url.path
        return None if in_memory else Path(os.path.realpath(unquote(url.path)))
    return None if name in ("", ":memory:") else Path(os.path.realpath(name))


def place_beside(file: Path) -> Place:
    """A directory beside a database file; who may write to the file may use it."""
    around = file.parent.stat()
    try:
        like = file.stat()
    except FileNotFoundError:
        like = around
    owners = frozenset({os.getuid(), like.st_uid}) if around.st_mode & stat.S_IWOTH else None
    return Place(f"{file}-hints", owners, directory_mode(like.st_mode), (like.st_uid, like.st_gid))


def directory_mode(mode: int) -> int:
    """For each of owner, group and others all rights if they may write to the file, otherwise none."""
    writable = mode & WRITABLE
    return writable | writable << 1 | writable >> 1


def runtime_places(digest: str) -> list[Place]:
    """Directories of what runs: that of the units in deploy/, that of another unit, the user's, a temporary one."""
    user = os.getuid()
    own = frozenset({user})
    places: list[Place] = []
    units = [Path(path) for path in os.environ.get("RUNTIME_DIRECTORY", "").split(":")[:1] if path]
    for base in dict.fromkeys([SHARED, *units]):
        with suppress(OSError):
            found = base.lstat()
            if stat.S_ISDIR(found.st_mode) and not found.st_mode & stat.S_IWOTH:
                owners = own | {found.st_uid}
                mode = directory_mode(found.st_mode)
                places.append(Place(f"{base}/{digest}", owners, mode, (found.st_uid, found.st_gid)))
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        places.append(Place(f"{runtime}/broadcast-{digest}", own, 0o700, (user, -1)))
    places.append(Place(f"{tempfile.gettempdir()}/broadcast-{user}-{digest}", own, 0o700, (user, -1)))
    return places


class Directory:
    """An open directory of sockets, of which it is known whose it is. A context manager, which closes it."""

    def __init__(self, place: Place, descriptor: int) -> None:
        self._place = place
        self._descriptor = descriptor
        # By the open directory where the system allows it: that is short, and nobody can put another in its place.
        # Linux does not allow it to a process that was the superuser's and is another user's by now.
        within = f"{DESCRIPTORS}/{descriptor}"
        self._prefix = within if os.access(within, os.X_OK) else place.path

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def names(self) -> list[str]:
        """The names of the sockets; those that begin with a dot are being made or gone."""
        return [name for name in os.listdir(self._descriptor) if name[0] != "."]

    def send(self, sender: socket.socket, name: str, data: bytes) -> bool:
        """Sends to a socket, and removes it if nobody has it any more. Returns False if its queue is full."""
        try:
            sender.sendto(data, f"{self._prefix}/{name}")
        except ConnectionRefusedError:
            self.remove(name)
        except OSError as error:  # otherwise it is gone, or not meant for this user
            return error.errno not in FULL
        return True

    def bind(self, name: str) -> socket.socket:
        """A new socket with this name. Raises OSError if there can be none."""
        bound = new_socket()
        try:
            bound.bind(f"{self._prefix}/.{name}")
            self._hand_over(f".{name}")
            # Not before: between its coming into the directory and its being bound it would seem to be stale.
            os.rename(f".{name}", name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except BaseException:
            bound.close()
            raise
        return bound

    def _hand_over(self, name: str) -> None:
        """Gives a socket that was just bound the owner and the mode that those have who may use the directory.

        By a descriptor of the socket itself, for who may write here may have put something else in its place.
        """
        mode = self._place.mode & 0o666
        if not hasattr(os, "O_PATH"):
            os.chmod(name, mode, dir_fd=self._descriptor, follow_symlinks=False)
            return
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self._descriptor)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISSOCK(found.st_mode) and found.st_uid == os.getuid():
                os.chmod(f"{DESCRIPTORS}/{descriptor}", mode)
                give_away(f"{DESCRIPTORS}/{descriptor}", self._place, (found.st_uid, found.st_gid))
        finally:
            os.close(descriptor)

    def sweep(self) -> None:
        """Removes sockets that nobody has any more."""
        for name in os.listdir(self._descriptor):
            with suppress(OSError), new_socket() as prober:
                try:
                    prober.connect(f"{self._prefix}/{name}")
                except ConnectionRefusedError:
                    self.remove(name)

    def number(self, name: str) -> int | None:
        """The inode of a socket; None if there is none of that name."""
        with suppress(OSError):
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_ino
        return None

    def remove(self, name: str) -> None:
        with suppress(OSError):
            if stat.S_ISSOCK(os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=self._descriptor)

    def remove_if_empty(self) -> None:
        """Leaves nothing behind. Who has just opened it and finds it gone makes it anew, or takes another place."""
        with suppress(OSError):
            os.rmdir(self._place.path)


def new_socket() -> socket.socket:
    """A datagram socket that nobody waits for."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


def open_directory(place: Place, make: bool = False) -> Directory | None:
    """The directory at a place, made if need be; None if there is none, or one that is not to be trusted."""
    is_made = False
    try:
        if make:
            with suppress(FileExistsError):
                os.mkdir(place.path, PRIVATE)
                is_made = True
        descriptor = os.open(place.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if is_made:
            hand_over(descriptor, place)
        if is_sound(os.fstat(descriptor), place):
            return Directory(place, descriptor)
    except OSError:
        pass
    os.close(descriptor)
    return None


def hand_over(descriptor: int, place: Place) -> None:
    """Gives a directory that was just made its mode and owner.

    Not one with something in it: who may write around it may have put another in its place.
    """
    found = os.fstat(descriptor)
    if found.st_uid == os.getuid() and not os.listdir(descriptor):
        if place.mode != PRIVATE:
            os.fchmod(descriptor, place.mode)
        give_away(descriptor, place, (found.st_uid, found.st_gid))


def is_sound(found: os.stat_result, place: Place) -> bool:
    """True for a directory of an expected owner in which no more may write than should."""
    is_expected = place.owners is None or found.st_uid in place.owners
    return is_expected and not stat.S_IMODE(found.st_mode) & WRITABLE & ~place.mode


def give_away(file: int | str, place: Place, owned: tuple[int, int], **where: Any) -> None:
    """Gives what this process has made to whom the database belongs, or at least to its group, where that may write."""
    if os.getuid() == 0:
        if owned != place.like:
            os.chown(file, *place.like, **where)
    elif place.mode & stat.S_IWGRP and owned[1] != place.like[1]:
        with suppress(OSError):
            os.chown(file, -1, place.like[1], **where)
