"""The declarations for TypeScript beside the modules that they describe."""

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


PROPERTIES = """async (tag) => {
  await import(`/static/broadcast/${tag.replace("broadcast-", "")}.js`);
  return Object.keys(customElements.get(tag).properties).sort();
}"""
ELEMENTS = {"broadcast-announcements": "Announcements", "broadcast-feed": "Feed"}


def declared(name: str = "broadcast") -> str:
    path = finders.find(f"broadcast/{name}.d.ts")
    assert path
    return re.sub(r"/\*\*.*?\*/", "", Path(path).read_text(encoding="utf-8"), flags=re.DOTALL)


def test_what_is_declared_is_exported(case_page: Page) -> None:
    values = re.findall(r"^export (?:declare )?(?:function|class|const) (\w+)", declared(), re.MULTILINE)
    assert sorted(values) == case_page.evaluate(EXPORTED)


def block(text: str, kind: str) -> str:
    found = re.search(rf"^(?:export )?interface {kind} .*?^}}", text, re.MULTILINE | re.DOTALL)
    assert found
    return found[0]


@pytest.mark.parametrize("name", ["Client", "Subscription"])
def test_what_is_declared_of_an_object_is_there(case_page: Page, name: str) -> None:
    members = set(re.findall(r"^  (?:readonly )?(\w+)[(:?]", block(declared(), name), re.MULTILINE))
    assert members
    assert members <= set(case_page.evaluate(MEMBERS, name))


@pytest.mark.parametrize("tag", ELEMENTS)
def test_each_property_of_an_element_is_declared_for_scripts_and_for_jsx(case_page: Page, tag: str) -> None:
    elements, jsx = declared("elements"), declared("react")
    typed = block(elements, "BroadcastElement") + block(elements, f"Broadcast{ELEMENTS[tag]}Element")
    written = block(jsx, "Common") + block(jsx, ELEMENTS[tag])
    properties = case_page.evaluate(PROPERTIES, tag)
    assert sorted(re.findall(r"^  get (\w+)\(", typed, re.MULTILINE)) == properties
    assert sorted(re.findall(r"^  set (\w+)\(", typed, re.MULTILINE)) == properties
    assert sorted(re.findall(r"^  (\w+)\?:", written, re.MULTILINE)) == properties
