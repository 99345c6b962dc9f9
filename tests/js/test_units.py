"""The client's units, each in a fresh page of a real Chromium, with the modules as they are shipped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page

FILES = sorted((Path(__file__).parent / "cases").glob("*.cases.js"))
NAMED = re.compile(r'^test\("(.+?)", ', re.MULTILINE)
CASES = [(file.name, name) for file in FILES for name in NAMED.findall(file.read_text(encoding="utf-8"))]

NAMES = """async (file) => {
  await import(`/cases/${file}`);
  return (await import("/cases/harness.js")).names();
}"""
RUN = """async ([file, name]) => {
  await import(`/cases/${file}`);
  try {
    await (await import("/cases/harness.js")).run(name);
  } catch (error) {
    return error.stack;
  }
}"""


@pytest.mark.parametrize("file", [file.name for file in FILES])
def test_every_case_of_a_file_is_run(case_page: Page, file: str) -> None:
    registered = case_page.evaluate(NAMES, file)
    assert registered == [name for of, name in CASES if of == file]


@pytest.mark.parametrize(("file", "name"), CASES, ids=lambda value: value.removesuffix(".cases.js"))
def test_unit(case_page: Page, file: str, name: str) -> None:
    failure = case_page.evaluate(RUN, [file, name])
    if failure:
        pytest.fail(failure, pytrace=False)
