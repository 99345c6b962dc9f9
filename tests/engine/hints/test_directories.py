"""The directories in which processes find each other: which, whose, and how none of a stranger's is used."""

import os
import socket
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest

from broadcast.engine.hints.directories import Directory, Place, open_directory, places_of, runtime_places

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only the superuser can give files away")


@pytest.fixture(autouse=True)
def _without_a_unit(monkeypatch):
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


def database(vendor: str = "sqlite", **settings: Any) -> Any:
    return SimpleNamespace(vendor=vendor, settings_dict={"OPTIONS": {}, **settings})


def opened(place: Place, make: bool = False) -> Directory:
    directory = open_directory(place, make)
    assert directory
    return directory


def place(path: Path, mode: int = 0o700) -> Place:
    return Place(str(path), frozenset({os.getuid()}), mode, (os.getuid(), os.getgid()))


def test_an_sqlite_file_has_it_beside_it_by_whatever_name_it_is_called(tmp_path):
    file = tmp_path / "site.sqlite3"
    file.touch(0o664)
    (tmp_path / "link.sqlite3").symlink_to(file)
    names = [str(file), str(tmp_path / "link.sqlite3"), f"file:{file}?cache=shared", f"{tmp_path}/./site.sqlite3"]
    found = [places_of(database(NAME=name)) for name in names]
    assert {tuple(each) for each in found} == {tuple(found[0])}
    assert found[0][0].path == f"{tmp_path}/site.sqlite3-hints"
    assert [places_of(database(NAME=name)) for name in ("", ":memory:", "file:x?mode=memory")] == [[], [], []]


@pytest.mark.parametrize(("mode", "expected"), [(0o600, 0o700), (0o644, 0o700), (0o664, 0o770), (0o666, 0o777)])
def test_who_may_write_to_the_file_may_use_the_directory_and_nobody_else(tmp_path, mode, expected):
    file = tmp_path / "site.sqlite3"
    file.touch()
    file.chmod(mode)
    (beside, *_) = places_of(database(NAME=str(file)))
    with opened(beside, make=True) as directory, directory.bind("one"):
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (Path(beside.path), Path(beside.path, "one"))]
    assert modes == [expected, expected & 0o666]


def test_databases_of_a_server_have_each_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    addresses = [{"NAME": "a"}, {"NAME": "test_a"}, {"NAME": "a", "PORT": 5433}, {"NAME": "a", "HOST": "10.0.0.1"}]
    found = [Path(places_of(database("postgresql", **address))[0].path) for address in addresses]
    assert {path.parent for path in found} == {tmp_path}
    assert len(set(found)) == len(addresses)


def test_the_directory_of_a_unit_comes_first_unless_strangers_may_write_there(monkeypatch, tmp_path):
    unit = tmp_path / "unit"
    unit.mkdir(0o700)
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{unit}:{tmp_path}")
    assert runtime_places("x")[0].path == f"{unit}/x"
    unit.chmod(0o1777)
    assert unit not in [Path(place.path).parent for place in runtime_places("x")]


def planted_link(path: Path) -> None:
    (path.parent / "elsewhere").mkdir(0o700)
    path.symlink_to(path.parent / "elsewhere")


def planted_directory(path: Path) -> None:
    path.mkdir(0o700)
    os.chown(path, NOBODY, NOBODY)


@pytest.mark.parametrize("plant", [planted_link, Path.touch, pytest.param(planted_directory, marks=as_root)])
def test_what_a_stranger_has_planted_is_not_used(tmp_path, plant):
    plant(tmp_path / "hints")
    assert open_directory(place(tmp_path / "hints"), make=True) is None
    assert list(tmp_path.glob("elsewhere/*")) == []


@pytest.mark.parametrize(("mode", "is_used"), [(0o777, False), (0o700, True)])
def test_a_directory_of_our_own_that_was_there_before_is_left_as_it_is(tmp_path, mode, is_used):
    """Whoever may write around it may have put it there."""
    path = tmp_path / "hints"
    path.mkdir()
    path.chmod(mode)
    found = open_directory(replace(place(path), like=(NOBODY, NOBODY)), make=True)
    assert (found is not None) == is_used
    assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_uid) == (mode, os.getuid())


@as_root
def test_what_a_superuser_makes_is_given_to_the_owner_of_the_database(tmp_path):
    file = tmp_path / "site.sqlite3"
    file.touch(0o600)
    os.chown(file, NOBODY, NOBODY)
    (beside, *_) = places_of(database(NAME=str(file)))
    with opened(beside, make=True) as directory, directory.bind("one"):
        assert {path.stat().st_uid for path in (Path(beside.path), Path(beside.path, "one"))} == {NOBODY}
    opened(beside).__exit__()


def test_a_socket_of_the_dead_is_removed_by_who_sends_to_it_and_by_a_sweep_and_nothing_else_is(tmp_path):
    deep = tmp_path.joinpath(*["x" * 40] * 4)  # deeper than the path of a socket may be
    deep.mkdir(parents=True)
    with opened(place(deep / "hints"), make=True) as directory:
        alive = directory.bind("alive")
        for name in ("dead", "stale"):
            directory.bind(name).close()
        (deep / "hints" / "file").touch()
        with alive, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            assert all(directory.send(sender, name, b"hello") for name in ("alive", "dead", "file", "gone"))
            assert sorted(directory.names()) == ["alive", "file", "stale"]
            directory.sweep()
            assert sorted(directory.names()) == ["alive", "file"]
            assert alive.recv(10) == b"hello"


def as_user(number: int, group: int, work: Callable[[], None]) -> int:
    """Forks a process of another user that does some work and ends with 0 if it could."""
    if (child := os.fork()) == 0:
        status = 1
        try:
            os.setgroups([group])
            os.setgid(number)
            os.setuid(number)
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]


@as_root
def test_two_users_meet_who_may_both_write_to_the_file():
    group, ann, ben = 40001, 40002, 40003
    with TemporaryDirectory() as name:
        file = Path(name, "site.sqlite3")
        file.touch()
        for path, bits in ((file, 0o664), (file.parent, 0o775)):
            os.chown(path, ann, group)
            path.chmod(bits)
        reader, writer = socket.socketpair()

        def listen() -> None:
            (beside, *_) = places_of(database(NAME=str(file)))
            with opened(beside, make=True) as directory:
                bound = directory.bind("ben")
                socket.send_fds(writer, [b"x"], [bound.fileno()])

        def send() -> None:
            (beside, *_) = places_of(database(NAME=str(file)))
            with opened(beside) as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                directory.send(sender, "ben", b"hello")

        assert as_user(ben, group, listen) == 0
        with reader, writer, socket.socket(fileno=socket.recv_fds(reader, 1, 1)[1][0]) as bound:
            assert as_user(ann, group, send) == 0
            assert bound.recv(10) == b"hello"


def test_among_strangers_only_a_directory_of_the_files_owner_is_used(tmp_path):
    file = tmp_path / "site.sqlite3"
    file.touch()
    tmp_path.chmod(0o1777)
    (beside, *_) = places_of(database(NAME=str(file)))
    assert beside.owners == {os.getuid()}
