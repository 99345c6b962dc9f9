"""docs/threat-model.md: each threat names tests, and these are there."""

import ast
import re

import pytest

from tests.site import ROOT

DOCS = (ROOT / "docs" / "threat-model.md").read_text()
ROWS = [row for row in DOCS.splitlines() if row.startswith("| ") and not row.startswith(("| what", "| ---"))]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:60])
def test_what_stops_a_threat_is_shown_by_a_test(row):
    named = re.findall(r"`(tests/[\w/.]+?\.py)(?:::(\w+))?`", row.split("|")[3])
    assert named
    for file, name in named:
        functions = {node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if hasattr(node, "name")}
        assert not name or name in functions
