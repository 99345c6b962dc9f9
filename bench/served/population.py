"""The users of the measured site: made at once before it is served, each signed in under a session; and sent away.

`python -m bench.served.population COUNT` makes so many in the database of the settings.
"""

import sys
from collections.abc import Sequence
from datetime import timedelta

from bench.readers import session_key

TOGETHER = 500  # rows a statement


def populate(count: int) -> None:
    """Makes the users 1 to ``count`` and their sessions."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
    from django.contrib.sessions.backends.db import SessionStore
    from django.contrib.sessions.models import Session
    from django.utils import timezone

    backend, expires, store = settings.AUTHENTICATION_BACKENDS[0], timezone.now() + timedelta(days=7), SessionStore()
    model = get_user_model()
    users = [model(pk=number, username=f"reader{number}") for number in range(1, count + 1)]
    for user in users:
        user.set_unusable_password()
    model._default_manager.bulk_create(users, TOGETHER)
    Session.objects.bulk_create(
        (
            Session(
                session_key=session_key(user.pk),
                expire_date=expires,
                session_data=store.encode(
                    {
                        SESSION_KEY: str(user.pk),
                        BACKEND_SESSION_KEY: backend,
                        HASH_SESSION_KEY: user.get_session_auth_hash(),
                    }
                ),
            )
            for user in users
        ),
        TOGETHER,
    )


def send_away(signed_out: Sequence[int], deactivated: Sequence[int]) -> None:
    """Deletes sessions and deactivates users, in ways that send no signal of a sign-out or of a saved user."""
    from django.contrib.auth import get_user_model
    from django.contrib.sessions.models import Session

    Session.objects.filter(session_key__in=[session_key(number) for number in signed_out]).delete()
    get_user_model()._default_manager.filter(pk__in=deactivated).update(is_active=False)


if __name__ == "__main__":
    import django

    django.setup()
    populate(int(sys.argv[1]))
