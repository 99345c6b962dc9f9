"""System checks: what is wrong with a site, and how to put it right.

Each function holds one rule and one id; ``docs/checks.md`` explains them all.
"""

__all__ = ["settings", "surroundings"]
