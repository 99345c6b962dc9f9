"""The host site with pages that its users wrote, whatever they wrote; an address that leads anywhere; a quick way in."""

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
    login(request, User.objects.get(username=name))
    return HttpResponse(f"Hello {name}")


urlpatterns = [
    path("page/", user_content),
    path("hop/", hop),
    path("in/<name>/", sign_in),
    path("", include("project.urls")),
]
