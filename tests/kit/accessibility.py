"""Pages for everyone."""

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
