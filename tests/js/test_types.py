"""broadcast.d.ts beside the modules that it describes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from playwright.sync_api import Page

EXPORTED = """async () => Object.keys(await import("/static/broadcast/broadcast.js")).sort()"""
MEMBERS = """async (name) => {
  const { connect } = await import("/static/broadcast/broadcast.js");
  const client = connect("/ws");
  const it = { Client: client, Subscription: client.subscribe("lobby") }[name];
  const names = new Set([...Object.getOwnPropertyNames(Object.getPrototypeOf(it)), ...Object.keys(it)]);
  return [...names].sort();
}"""


def declared() -> str:
    path = finders.find("broadcast/broadcast.d.ts")
    assert path
    return re.sub(r"/\*\*.*?\*/", "", Path(path).read_text(encoding="utf-8"), flags=re.DOTALL)


def test_what_is_declared_is_exported(case_page: Page) -> None:
    values = re.findall(r"^export (?:declare )?(?:function|class|const) (\w+)", declared(), re.MULTILINE)
    assert sorted(values) == case_page.evaluate(EXPORTED)


@pytest.mark.parametrize("name", ["Client", "Subscription"])
def test_what_is_declared_of_an_object_is_there(case_page: Page, name: str) -> None:
    block = re.search(rf"^export interface {name} .*?^}}", declared(), re.MULTILINE | re.DOTALL)
    assert block
    members = set(re.findall(r"^  (?:readonly )?(\w+)[(:?]", block[0], re.MULTILINE))
    assert members
    assert members <= set(case_page.evaluate(MEMBERS, name))
