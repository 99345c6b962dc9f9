"""The host site with groups for some, a policy of its own, and addresses by which a test changes who may what."""

from project.settings import *  # noqa: F403

BROADCAST = {
    "GROUPS": {"broadcast": {"subscribe": "anyone"}, "members": {"subscribe": "perm:auth.view_group"}},
    "POLICY": "tests.browser.audience_site.may",
}
ROOT_URLCONF = "tests.browser.audience_site"
