"""The oldest browsers that the elements are for: nothing is used that one of them lacks, by MDN's data."""

from __future__ import annotations

import json
import re

import pytest

from .node import run

pytestmark = pytest.mark.usefixtures("node_tools")

# What was not everywhere in summer 2024, in each way in which a script or a style sheet can name it.
TOO_NEW = {
    "planted.js": {
        "element.moveBefore(child, null)": "moveBefore",
        "new URLPattern({})": "URLPattern",
        "Promise.try(() => 1)": "try",
        "RegExp.escape(text)": "escape",
        "document.startViewTransition(act)": "startViewTransition",
        'box.addEventListener("scrollend", act)': "scrollend",
        'box.style.positionAnchor = "--x"': "positionAnchor",
    },
    "planted.css": {
        "a { anchor-name: --x }": "anchor-name",
        "a { text-wrap: pretty }": "text-wrap: pretty",
        "a { color: contrast-color(red) }": "contrast-color()",
        "a { b:open { color: red } }": ":open",
        "a::details-content { color: red }": ":details-content",
        "@starting-style { a { opacity: 0 } }": "@starting-style",
        "@media (inverted-colors) { a { color: red } }": "(inverted-colors)",
    },
}
OLD_ENOUGH = {
    "planted.js": ["element.moveBefore?.(child, null)", "CSS.escape(text)", "box.style.opacity = 1", "this.number()"],
    "planted.css": ["@supports (anchor-name: --x) { a { anchor-name: --x } }", "a { color: light-dark(red, blue) }"],
}


def complaints(*arguments: str, given: str = "") -> list[str]:
    done = run("eslint", "--format=json", *arguments, given=given)
    assert done.returncode in (0, 1), done.stderr
    said = [message for file in json.loads(done.stdout) for message in file["messages"]]
    return [re.sub(r" is not in .*", "", message["message"]) for message in said]


def test_nothing_is_used_that_one_of_them_lacks() -> None:
    assert complaints("frontend/**/*.{js,css}") == []


@pytest.mark.parametrize("name", TOO_NEW)
def test_what_is_too_new_is_found(name: str) -> None:
    lines = [*TOO_NEW[name], *OLD_ENOUGH[name]]
    found = complaints("--stdin", f"--stdin-filename=frontend/{name}", given="\n".join(lines))
    assert found == [*TOO_NEW[name].values()]
