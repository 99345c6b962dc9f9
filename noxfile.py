"""The suite on every version that pyproject.toml names: `nox --list` shows the cells, `nox --session NAME` runs one."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import nox
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

nox.needs_version = ">=2025.5.1"
nox.options.download_python = "never"  # an interpreter that is missing is told of, and CI=true makes it an error

Requirements = Callable[[str, str], list[Requirement]]

PROJECT = nox.project.load_toml("pyproject.toml")["project"]
DJANGO = "Framework :: Django :: "
FIRST_PYTHON = {"5.2": "3.10"}  # that a Django runs on; any other begins at 3.12
NOT_FOR_TESTS = {"django-stubs", "granian", "hypercorn", "mypy", "nox", "ruff"}
# Pages and their scripts are the same on every version, and promises in seconds need a quiet machine.
TESTS = ["--ignore=tests/browser", "--ignore=tests/js", "-m", "not alone"]
STRICTLY = [
    *("-W", "error"),
    # Autobahn's helper, as of txaio 26.6.1 on Python 3.14.
    *("-W", "ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning:txaio.tx"),
]


def cells() -> Iterator[tuple[str, list[str]]]:
    """Each Django that the classifiers name, with those of their Pythons that it runs on."""
    pythons = nox.project.python_versions({"project": PROJECT})
    for django in (line.removeprefix(DJANGO) for line in PROJECT["classifiers"] if line.startswith(DJANGO)):
        first = Version(FIRST_PYTHON.get(django, "3.12"))
        yield django, [python for python in pythons if Version(python) >= first]


def pinned() -> list[Requirement]:
    """What requirements.txt pins and tests need."""
    lines = [line for line in Path("requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
    return [found for found in map(Requirement, lines) if found.name not in NOT_FOR_TESTS]


def newest(django: str, python: str) -> list[Requirement]:
    """Everything as new as it can be had, with this Django."""
    specifiers = {"Django": f"=={django}.*"}
    return [at(specifiers.get(found.name, ""), found) for found in pinned()]


def lowest(django: str, python: str) -> list[Requirement]:
    """What pyproject.toml asks for at the lowest release that it allows; the rest as requirements.txt pins it."""
    floors = {name: f"=={version}" for name, version in declared_floors(django, python).items()}
    return [at(floors.get(found.name, str(found.specifier)), found) for found in pinned()]


def declared_floors(django: str, python: str) -> dict[str, Version]:
    """The lowest version of each dependency, extras included, that pyproject.toml allows on this Python."""
    lines = [f"Django>={django}", *PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]
    floors: dict[str, Version] = {}
    for asked in map(Requirement, lines):
        if asked.marker is None or asked.marker.evaluate({"python_version": python}):
            (bound,) = asked.specifier
            floors[asked.name] = max(floors.get(asked.name, Version("0")), Version(bound.version))
    return floors


def at(specifier: str, found: Requirement) -> Requirement:
    """The same requirement with its extras, at these versions."""
    found.specifier = SpecifierSet(specifier)
    return found


def add_session(django: str, pythons: list[str], requirements: Requirements) -> None:
    """Registers a Django with a set of dependencies, as one session for each Python."""

    @nox.session(name=f"django{django}-{requirements.__name__}", python=pythons)
    def suite(session: nox.Session) -> None:
        """Run the suite, strictly. Arguments after -- go to pytest, in place of the choice of tests made here."""
        session.install(*map(str, requirements(django, str(session.python))))
        session.run("python", "-m", "pip", "freeze", silent=False)
        session.run("python", "-m", "pytest", *STRICTLY, *(session.posargs or TESTS))


for _django, _pythons in cells():
    for _requirements in (lowest, newest):
        add_session(_django, _pythons, _requirements)
