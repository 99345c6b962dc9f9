"""The host site for daphne: Django's pages, and the app's WebSockets beside them."""

import os

from django.core.asgi import get_asgi_application

from broadcast.asgi import with_broadcast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

application = with_broadcast(get_asgi_application())
