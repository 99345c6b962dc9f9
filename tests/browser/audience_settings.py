"""The host site with groups for some, a policy of its own, and addresses by which a test changes who may what."""

from project.settings import *  # noqa: F403
from project.settings import DATABASES

# Django reads before it writes when it adds to a relation, and SQLite refuses that while messages go out.
DATABASES["default"]["OPTIONS"]["transaction_mode"] = "IMMEDIATE"

BROADCAST = {
    "GROUPS": {"broadcast": {"subscribe": "anyone"}, "members": {"subscribe": "perm:auth.view_group"}},
    "POLICY": "tests.browser.audience_site.may",
}
ROOT_URLCONF = "tests.browser.audience_site"
