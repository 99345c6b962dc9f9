"""The benchmark: its targets, its report, and a small run of it."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.figures import SECTIONS
from bench.pairs import pairs
from bench.plan import Plan, Round
from bench.readers import KINDS, Ear, Reader
from bench.report import report
from bench.results import Results
from bench.rows import ROOT, all_rows
from bench.servers import Workshop
from bench.table import table
from bench.targets import OF_READERS, TARGETS, UNREAD, verdict
from broadcast.consumers import MAX_STRIKES
from broadcast.engine.transports.daphne.receive import FRAME_COST, MAX_FRAGMENTS, UNREAD_BYTES

DOCS = ROOT / "docs"
ROWS = {row.key: row for row in all_rows([("", ROOT)])}
OURS = ROWS["ours-memory"]

RUN_SECONDS = 120
CONNECTIONS = 20


class Asked(Results):
    """Results that have every figure, and remember which were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.rows_asked: set[str] = set()
        self.figures_asked: set[str] = set()

    def of(self, row: str, size: int, figure: str) -> float:
        self.rows_asked.add(row)
        self.figures_asked.add(figure)
        return 1.0


# Targets


@pytest.mark.parametrize("target", [*TARGETS, *OF_READERS], ids=lambda target: target.text)
def test_a_target_is_made_of_figures_that_the_tables_show(target):
    asked = Asked()
    assert target.value(asked, f"ours-{target.layer}") is not None
    assert asked.figures_asked
    assert asked.figures_asked <= {figure.key for section in SECTIONS for figure in section.figures}
    assert asked.rows_asked <= {*ROWS, *(kind.row(row).key for kind in KINDS.values() for row in ROWS.values())}


def test_no_figure_is_in_two_tables():
    keys = [figure.key for section in SECTIONS for figure in section.figures]
    assert len(keys) == len(set(keys))


def test_the_formulas_and_bounds_of_the_documentation_are_those_of_the_benchmark_and_the_app():
    text = (DOCS / "performance.md").read_text().replace("\n", " ")
    assert re.findall(r"(\d+) KiB \S clients that do not read", text) == [str(UNREAD)]
    assert f"{UNREAD_BYTES // 1024} KiB in all, in which each frame counts {FRAME_COST} bytes" in text
    assert f"in at most {MAX_FRAGMENTS:,} pieces" in text
    assert MAX_STRIKES == 20
    assert "after twenty bad or refused frames in a row it is closed" in text


def test_a_target_that_has_no_figures_is_listed_as_not_measured_unless_nothing_of_ours_was():
    results = Results()
    results.add(ROWS["c"], 1000, "one", 12.0)
    assert verdict(results) == ""
    results.add(OURS, 1000, "resume_queries", 0.012)
    results.add(OURS, 1000, "resume_ratio", 1.1)
    *_, heading, _, resume, queries, _, missing = verdict(results).splitlines()
    assert cells(heading) == ["target", "value", "limit", "reached"]
    assert cells(resume) == ["all resume / all connect plain", "1.10", "1.30", "yes"]
    assert cells(queries) == ["queries per resuming client", "0.012", "0.010", "NO"]
    reached = ("all resume / all connect plain", "queries per resuming client")
    assert missing == f"Not measured: {'; '.join(target.text for target in TARGETS if target.text not in reached)}."


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


# Readers


def test_an_ear_counts_words_that_come_in_pieces():
    ear = Ear(Reader(1, "", b"", groups=2))
    stream = b'\x81\x10[{"type":"welcome"},{"type":"message"}]\x81\x08{"type":"welcome"}'
    for at in range(0, len(stream), 7):
        assert not ear.is_there(1)
        ear.take(stream[at : at + 7])
    assert ear.is_there(1)
    assert not ear.is_there(2)
    assert (ear.welcomes, ear.messages) == (2, 1)


def test_checkouts_are_compared_round_by_round_and_with_the_spread():
    results = Results(about={"projects": ["before", "after"]})
    row = KINDS["users-own"].row(OURS)
    for name, values in (("before", [4.0, 8.0, 6.0]), ("after", [2.0, 2.0, 6.0])):
        for value in values:
            results.add(replace(row, key=row.key.replace("ours", name), title=f"{name}, …"), 1000, "readers_cpu", value)
    *_, line = pairs(results).splitlines()
    assert cells(line)[-4:] == ["6.00", "2.00", "0.50 (0.25 to 1.00)", "3"]
    assert " 6.00 (4.00 to 8.00) |" in table(results)
    assert pairs(Results()) == ""


# The report


@pytest.mark.parametrize("name", ["performance.json", "performance.svg", "figures.md"])
def test_the_documentation_shows_what_was_measured(name, tmp_path):
    report(Results.load(DOCS / "performance.json"), tmp_path)
    assert (tmp_path / name).read_text() == (DOCS / name).read_text(), (
        "Draw it anew: python -m bench.report docs/performance.json --output docs"
    )


# A run


def bench(*args: str, temporary: Path) -> "subprocess.CompletedProcess[str]":
    """Runs `python -m bench` to its end, which must be the end of every process that it started."""
    command, env = [sys.executable, "-m", "bench", *args], os.environ | {"TMPDIR": str(temporary)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=env, start_new_session=True, **pipes) as process:
        try:
            out, err = process.communicate(timeout=RUN_SECONDS)
        finally:
            was_left = kill_group(process.pid)
    assert not was_left
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def kill_group(group: int) -> bool:
    """Kills what is left of a group of processes; whether anything was."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """Where a run has its temporary files, which are gone when it ends."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    yield directory
    assert list(directory.iterdir()) == []


def test_a_run_leaves_a_report_and_nothing_else(tmp_path, temporary):
    rows = ["ours-memory", "c"] if shutil.which("cc") else ["ours-memory"]
    small = ("--rounds", "1", "--sizes", str(CONNECTIONS), "--size", str(CONNECTIONS), "--scenarios", "fanout")
    no_fifty = ("--budget", "0.000001")
    output = tmp_path / "report"
    done = bench("--rows", ",".join(rows), *small, *no_fifty, "--output", str(output), temporary=temporary)
    assert done.returncode == 0, done.stderr

    results = Results.load(output / "performance.json")
    assert list(results.rows) == rows
    for row in rows:
        measured = {figure for (of, size, figure) in results.values if (of, size) == (row, CONNECTIONS)}
        assert measured >= {"one", "one_cpu", "one_client", "connect", "connect_cpu", "memory"}
        assert "burst" not in measured
        assert f"- {results.rows[row]}: fifty messages to {CONNECTIONS} connections would take about " in done.stdout

    page_state = [element.text for element in ElementTree.parse(output / "performance.svg").iter()]
    assert set(results.rows.values()) < set(page_state)
    assert done.stdout.strip() in (output / "figures.md").read_text()


def test_a_run_of_readers_measures_them(tmp_path, temporary):
    output = tmp_path / "report"
    small = ("--quick", "--size", str(CONNECTIONS), "--storm-size", str(CONNECTIONS), "--readers", "users-own")
    scenarios = ("--rows", "ours-memory", "--scenarios", "readers,storm", "--output", str(output))
    done = bench(*small, *scenarios, temporary=temporary)
    assert done.returncode == 0, done.stderr
    results = Results.load(output / "performance.json")
    assert not results.remarks
    figures = {figure for (row, _, figure) in results.values if row == "ours-memory-users-own"}
    assert figures >= {"readers_cpu", "readers_memory", "readers_back_queries", "storm", "storm_page"}


def test_a_row_that_there_is_not_is_refused_in_a_line(tmp_path, temporary):
    done = bench("--rows", "nosuch,c3", "--output", str(tmp_path / "report"), temporary=temporary)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "No row is called nosuch or c3; docs/performance.md has an example.\n"
    assert not (tmp_path / "report").exists()


def test_why_a_figure_was_left_out_is_said_of_the_first_round_only(tmp_path):
    plan, results = Plan([OURS], ["fanout"]), Results()
    with Workshop() as workshop:
        Round(plan, workshop, results, is_first=True).leave_out(OURS, "it takes about 70 s")
        Round(plan, workshop, results, is_first=False).leave_out(OURS, "it takes about 7 s")
    assert results.remarks == [f"{OURS.title}: it takes about 70 s"]
    assert table(results) == f"Not measured:\n\n- {OURS.title}: it takes about 70 s"
