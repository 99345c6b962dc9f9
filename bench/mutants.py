"""How many small breaks of the code the tests notice: each break alone, in a copy, under the tests that reach it.

    nice python -m bench.mutants --seed 1 --count 300 broadcast/engine broadcast/consumers.py

Cosmic Ray says what can be broken: it turns `<` into `<=`, `and` into `or`, 3 into 4, and so on. A sample of these
mutants is drawn, the same for the same seed and code. What cannot matter is not drawn: annotations, code for type
checkers only, and what the compiler itself refuses or warns of.

All tests are run once, to learn which of them reach which line and how long each takes. A mutant is then tried under
the tests that reach its statement; one outside of functions, which runs at import, under those that reach its file.
Those of its own module come first, by the names of the files, and others only if these pass: no more than `--most`
tests and `--budget` seconds of them in all. The mutant is killed when a test fails, or when they take far longer than
they did (a timeout); else, and where no test comes, it survived. Tests in other processes, in a browser, or that hold
promises in seconds (marked `alone`) have no part in it: see `--without`.

Nothing in the working tree is changed. Results are written after each mutant, to `--out`; the same command goes on
where an interrupted one ended. 300 mutants take about half an hour, on a busy machine an hour. With `--unbroken`
nothing is broken, and all have to survive: whatever is killed then is a test that fails by itself.
"""

from __future__ import annotations

import ast
import gc
import hashlib
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser, Namespace
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from coverage import CoverageData

from bench.mutations import Mutant, sample

PATHS = ["broadcast/engine", *(f"broadcast/access/{name}.py" for name in ("policy", "origins", "refusals"))]
PATHS += ["broadcast/consumers.py"]
WITHOUT = [f"tests/{name}" for name in ("browser", "chaos", "js", "live")]
WITHOUT += [f"tests/test_{name}.py" for name in ("bench", "chaos", "floors", "site")]
PYTEST = ["-W", "error", "-W", "ignore::pytest.PytestAssertRewriteWarning", "-p", "no:cacheprovider"]
PYTEST += ["-m", "not alone", "--hypothesis-seed=1"]
# What all tests import, and what takes a second or two: imported once, for each test run is a fork of this process.
LIBRARIES = ["channels.consumer", "django.test", "hypothesis", "psycopg", "websockets"]
LIBRARIES += ["playwright.sync_api", "pytest_asyncio.plugin", "pytest_cov.plugin", "pytest_django.plugin", "xdist"]
SETTINGS = """
from {base} import *  # as the site has them, but for what is slow on purpose
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
"""
TOOK = re.compile(r"^(\d+\.\d+)s (?:setup|call|teardown) +(\S.*)$", re.MULTILINE)
INTERNAL_ERROR, NO_SUCH_TEST = 3, 4  # exit statuses of pytest
FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


class Copy:
    """The project in a directory of its own, to be broken and tested there."""

    def __init__(self, home: Path, files: Iterable[str], settings: str) -> None:
        self.root, self.home, self.temporary = home / "project", home, home / "tmp"
        for left in (self.root, self.temporary):
            shutil.rmtree(left, ignore_errors=True)
        for name in files:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, self.root / name)
        (home / "mutants_settings.py").write_text(SETTINGS.format(base=settings))

    def write(self, path: str, source: str) -> None:
        """Changes a module, and forgets what Python compiled of it."""
        (self.root / path).write_text(source)
        for compiled in (self.root / path).parent.glob(f"__pycache__/{Path(path).stem}.*.pyc"):
            compiled.unlink()

    def pytest(self, *arguments: str, limit: float = math.inf, **env: str) -> tuple[int | None, str]:
        """Runs tests, and ends whatever they started: the exit status (None if time ran out), and what was said."""
        self.temporary.mkdir()
        sys.stdout.flush()
        process = os.fork()
        if process == 0:
            status = INTERNAL_ERROR
            try:
                status = self._in_child(arguments, env)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(status)
        deadline = time.monotonic() + limit
        while not (ended := os.waitpid(process, os.WNOHANG))[0] and time.monotonic() < deadline:
            time.sleep(0.02)
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        if not ended[0]:
            os.waitpid(process, 0)
        shutil.rmtree(self.temporary, ignore_errors=True)
        outcome = os.waitstatus_to_exitcode(ended[1]) if ended[0] else None
        return outcome, (self.home / "said").read_text(errors="replace")

    def _in_child(self, arguments: Iterable[str], env: dict[str, str]) -> int:
        os.setsid()
        os.chdir(self.root)
        os.environ |= {"PYTHONPATH": str(self.home), "TMPDIR": str(self.temporary), **env}
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(self.temporary / "hypothesis")
        sys.path[:1] = [str(self.root), str(self.home)]  # instead of the place that this was started in
        for number, name in ((0, os.devnull), (1, self.home / "said"), (2, self.home / "said")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
        os.truncate(1, 0)
        random.seed()
        return pytest.main([*PYTEST, "--ds=mutants_settings", *arguments])

    def first_failure(self, tests: list[str], limit: float) -> tuple[int | None, str]:
        """Runs some tests, up to the first that fails."""
        (self.home / "tests").write_text("\n".join(tests))
        status, said = self.pytest("-x", "-q", "-rfE", f"@{self.home / 'tests'}", limit=limit)
        if status == NO_SUCH_TEST and any("[" in test for test in tests):  # what is broken may be in parameters' names
            return self.first_failure(list(dict.fromkeys(test.partition("[")[0] for test in tests)), limit)
        return status, said


@dataclass
class Reach:
    """Which tests reach which line of which file, and the seconds that each test takes."""

    by_line: dict[str, dict[str, list[str]]]
    seconds: dict[str, float]

    @classmethod
    def recorded(cls, copy: Copy, paths: Iterable[str], tests: list[str], without: list[str]) -> Reach:
        rc, data = copy.home / "coveragerc", copy.home / "coverage"
        rc.write_text("[run]\ninclude =\n" + "".join(f"  {copy.root / path}\n" for path in paths))
        arguments = ["--cov", f"--cov-config={rc}", "--cov-context=test", "--cov-report=", "--durations=0", "-vv"]
        ignored = [f"--{'deselect' if '::' in name else 'ignore'}={name}" for name in without]
        status, said = copy.pytest(*arguments, "--durations-min=0", *ignored, *tests, COVERAGE_FILE=str(data))
        if status not in (0, 1):
            raise SystemExit(f"{said[-4000:]}\nThe tests could not be run.")
        failed = {"", *FAILED.findall(said)}
        for test in sorted(failed)[1:]:
            print(f"Left out, for it fails with nothing broken: {test}", flush=True)
        seconds: defaultdict[str, float] = defaultdict(float)
        for took, test in TOOK.findall(said):
            seconds[test] += float(took)
        measured, by_line = CoverageData(str(data)), {}
        measured.read()
        for path in paths:
            contexts = measured.contexts_by_lineno(str(copy.root / path))
            reaching = {line: {name.rpartition("|")[0] for name in names} - failed for line, names in contexts.items()}
            by_line[path] = {str(line): sorted(tests) for line, tests in reaching.items()}
        return cls(by_line, {test: took for test, took in seconds.items() if test not in failed})

    def tests(self, mutant: Mutant, source: str, most: int, budget: float, seed: int) -> list[str]:
        """The tests for a mutant, the nearest first."""
        lines, in_function = statement(ast.parse(source), mutant.line)
        by_line = self.by_line[mutant.path]
        reaching = {test for line in (lines if in_function else by_line) for test in by_line.get(str(line), ())}
        if not reaching and not in_function:
            reaching = {test for test in self.seconds if distance(mutant.path, test) < (1,)}
        order = sorted(reaching)
        random.Random(f"{seed} {mutant}").shuffle(order)
        chosen: list[str] = []
        for test in sorted(order, key=lambda test: distance(mutant.path, test))[:most]:
            if (cost := self.seconds.get(test, 0)) <= budget:
                budget -= cost
                chosen.append(test)
        return chosen


def statement(tree: ast.Module, line: int) -> tuple[Iterable[int], bool]:
    """The lines of the statement there, or of its head if it has a body; and whether it is in a function's body."""
    lines: Iterable[int] = [line]
    in_function = False
    for node in ast.walk(tree):  # the outer ones come first
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno or line
            if line <= last:
                lines = range(node.lineno, last + 1)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                in_function = True
    return lines, in_function


def distance(path: str, test: str) -> tuple[int, int]:
    """How far a test is from a module: by its file's name, `test_<module>` or `test_<module>_…`, then by folders."""
    module, file = Path(path), Path(test.partition("::")[0])
    name = file.stem.removeprefix("test_")
    own = 0 if f"{name}_".startswith(f"{module.stem}_") else 1
    return own, -len({*module.parts} & {*file.parts}) - (name == module.stem)


def tried(mutant: Mutant, source: str, tests: list[str], copy: Copy, reach: Reach, unbroken: bool) -> dict[str, Any]:
    """What became of a mutant: first under the tests of its own module, then under the others."""
    began = time.monotonic()
    status: int | None = 0
    said = ""
    copy.write(mutant.path, source if unbroken else mutant.of(source))
    for others in (0, 1):
        names = [test for test in tests if distance(mutant.path, test)[0] == others]
        if names and status == 0:
            status, said = copy.first_failure(names, 45 + 3 * sum(reach.seconds.get(test, 0) for test in names))
    copy.write(mutant.path, source)
    outcome = {0: "survived", None: "timed out"}.get(status, "killed")
    by = (FAILED.findall(said) or said.splitlines() or [""])[-1] if outcome == "killed" else ""
    seconds = round(time.monotonic() - began, 1)
    told = {"mutant": str(mutant), "outcome": outcome, "by": by, "diff": mutant.diff(source)}
    return {**told, "tests": len(tests), "seconds": seconds}


def summary(results: list[dict[str, Any]]) -> str:
    counts = Counter(result["outcome"] for result in results)
    share = (counts["killed"] + counts["timed out"]) / max(len(results), 1)
    unreached = sum(not result["tests"] for result in results)
    lines = [
        f"{len(results)} mutants tried: {counts['killed']} killed, {counts['timed out']} timed out, "
        f"{counts['survived']} survived ({unreached} where no test comes). Share killed: {share:.1%}."
    ]
    for result in sorted(results, key=lambda result: str(result["mutant"])):
        if result["outcome"] == "survived":
            lines += ["", f"{result['mutant']}  ({result['tests']} tests)", *(f"    {line}" for line in result["diff"])]
    return "\n".join(lines)


def arguments() -> Namespace:
    parser = ArgumentParser(prog="python -m bench.mutants", formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("paths", nargs="*", default=PATHS, help="files and folders to break")
    parser.add_argument("--seed", type=int, default=1, help="what the sample is drawn by")
    parser.add_argument("--count", type=int, default=300, help="how many mutants")
    parser.add_argument("--tests", nargs="+", default=["tests"], help="where the tests are")
    parser.add_argument("--without", nargs="*", default=WITHOUT, help="tests that have no part in it")
    parser.add_argument("--most", type=int, default=250, help="tests per mutant")
    parser.add_argument("--budget", type=float, default=12, help="seconds of tests per mutant")
    parser.add_argument("--settings", default="project.settings", help="Django's, for the tests")
    parser.add_argument("--out", type=Path, help="where the results go, if not into the temporary directory")
    parser.add_argument("--unbroken", action="store_true", help="break nothing: all have to survive")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    for name in LIBRARIES:
        import_module(name)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored, and tests need it
    listing = ["git", "ls-files", "-zco", "--exclude-standard"]
    listed = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split("\0")  # noqa: S603
    files = sorted(name for name in listed if Path(name).is_file())
    digest = hashlib.sha256(b"".join(name.encode() + Path(name).read_bytes() for name in files)).hexdigest()[:12]
    work = Path(tempfile.gettempdir()) / f"mutants-{digest}"
    copy = Copy(work, files, given.settings)

    out: Path = given.out or work / "results.json"
    of = {"code": digest, **{name: value for name, value in vars(given).items() if name != "out"}}
    kept: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {"of": of, "results": []}
    if kept["of"] != of:
        raise SystemExit(f"{out} has the results of other code or another command. Remove it, or give another --out.")
    results: list[dict[str, Any]] = kept["results"]

    modules = [name for name in files if any(Path(name).is_relative_to(path) for path in given.paths)]
    sources = {name: Path(name).read_text() for name in modules if name.endswith(".py")}
    asked = hashlib.sha256(repr([*sources, given.tests, given.without]).encode()).hexdigest()[:12]
    known = work / f"reach-{asked}.json"
    if not known.exists():
        print("Running all tests once, to learn what each reaches", flush=True)
        known.write_text(json.dumps(vars(Reach.recorded(copy, sources, given.tests, given.without))))
    reach = Reach(**json.loads(known.read_text()))

    gc.freeze()
    drawn = sample(sources, given.seed, given.count)
    done = {result["mutant"] for result in results}
    for mutant in drawn:
        if str(mutant) not in done:
            tests = reach.tests(mutant, sources[mutant.path], given.most, given.budget, given.seed)
            results.append(result := tried(mutant, sources[mutant.path], tests, copy, reach, given.unbroken))
            out.with_suffix(".new").write_text(json.dumps({"of": of, "results": results}, indent=1))
            out.with_suffix(".new").replace(out)
            said = f"{result['outcome']} in {result['seconds']} s: {mutant}"
            print(f"{len(results)}/{len(drawn)} {said}", flush=True)
    print(f"\n{summary(results)}\n\nWritten to {out}")


if __name__ == "__main__":
    main()
