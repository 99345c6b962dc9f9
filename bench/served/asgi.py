"""One of the measured applications, with the benchmark's control connection at `/bench`.

The environment variable `BENCH_APPLICATION` says which: ours, tutorial, accept, or accept_sessions.
"""

import os
from typing import Any

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from bench.served import controlled, queries  # noqa: E402  (needs the apps)


def ours() -> tuple[Any, controlled.Sender]:
    from bench.served.ours import OursSender
    from project.asgi import application

    return application, OursSender()


def tutorial() -> tuple[Any, controlled.Sender]:
    from bench.served.tutorial import TutorialSender, application

    return application, TutorialSender()


def accept() -> tuple[Any, controlled.Sender]:
    from bench.served.accept import accept_only

    return accept_only, controlled.Sender()


def accept_sessions() -> tuple[Any, controlled.Sender]:
    from channels.auth import AuthMiddlewareStack

    from bench.served.accept import accept_only

    return AuthMiddlewareStack(accept_only), controlled.Sender()


APPLICATIONS = {made.__name__: made for made in (ours, tutorial, accept, accept_sessions)}

queries.count()
application = controlled.with_control(*APPLICATIONS[os.environ["BENCH_APPLICATION"]]())
