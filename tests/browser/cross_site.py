"""The host site with whatever pages its users write, an address that leads anywhere, and a quick way in."""

from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import include, path

from tests.kit.ways import page


def user_content(request: HttpRequest) -> HttpResponse:
    return HttpResponse(page(request.GET.dict()))


def hop(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(request.GET["to"])


def sign_in(request: HttpRequest, name: str) -> HttpResponse:
    """Signs in a user, who is made if there is none: "announcer" may announce."""
    user, _ = User.objects.get_or_create(username=name, is_superuser=name == "announcer")
    login(request, user)
    return HttpResponse(f"Hello {name}")


urlpatterns = [
    path("page/", user_content),
    path("hop/", hop),
    path("in/<name>/", sign_in),
    path("", include("project.urls")),
]
