"""The tutorial's consumer beside the site's pages, for daphne."""

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from chaos.tutorial import with_tutorial  # noqa: E402  (needs the apps)

application = with_tutorial(django_application)
