"""Pages for everyone: what axe says of them, and what assistive technology is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

# Of WCAG 2.2 AA, and not on by itself.
ALSO = {"rules": {"target-size": {"enabled": True}}}


def serious(page: Page) -> dict[str, list[str]]:
    """What axe finds that is serious or worse, and where."""
    violations = Axe().run(page, options=ALSO).response["violations"]
    return {
        violation["id"]: [node["target"] for node in violation["nodes"]]
        for violation in violations
        if violation["impact"] in ("serious", "critical")
    }


class Tree:
    """What assistive technology is told of a page, as it is now."""

    def __init__(self, page: Page) -> None:
        session = page.context.new_cdp_session(page)
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        session.detach()
        self.nodes: dict[str, Any] = {node["nodeId"]: node for node in nodes if not node["ignored"]}

    def names(self, role: str) -> list[str]:
        """The names of all that have this role."""
        return [name_of(node) for node in self.nodes.values() if role_of(node) == role]

    def live_regions(self) -> dict[str, str]:
        """The browser's own numbers of them, by their roles."""
        return {role_of(node): number for number, node in self.nodes.items() if role_of(node) in ("alert", "status")}

    def says(self, text: str, region: str) -> bool:
        """Whether the live region with this number has a text."""
        return any(region in self.around(node) for node in self.nodes.values() if text in name_of(node))

    def around(self, node: dict[str, Any] | None) -> Iterator[str]:
        while node:
            yield node["nodeId"]
            node = self.nodes.get(node.get("parentId", ""))

    @property
    def focused(self) -> str:
        """Role and name of what has the keyboard."""
        found = [node for node in self.nodes.values() if any(each["name"] == "focused" for each in node["properties"])]
        return f"{role_of(found[-1])} {name_of(found[-1])}".strip()


def role_of(node: dict[str, Any]) -> str:
    return str(node["role"]["value"])


def name_of(node: dict[str, Any]) -> str:
    return str(node.get("name", {}).get("value", ""))
