"""System checks: what is wrong with a site, and how to put it right. Importing this package registers them.

Each function holds one rule and one id; ``docs/checks.md`` explains them all.
"""

from . import environment, settings

__all__ = ["environment", "settings"]
