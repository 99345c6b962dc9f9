"""Addresses of a site whose pages are made by a framework: pages, parts to swap in, ways to sign in and to say."""

import json

from django.contrib.auth import login
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import include, path

from broadcast import send

HYPERMEDIA = ("htmx2", "htmx4", "turbo")


def may(user: User | None, action: str, group: str) -> bool | None:
    """Rooms are for everyone; whatever else there is goes by the table."""
    return True if group.startswith("room-") else None


def app(request: HttpRequest, name: str) -> HttpResponse:
    """An empty page with one framework in it; with ``first`` the elements are defined before it begins."""
    return render(request, "frameworks/app.html", {"app": name, "first": "first" in request.GET})


def part(request: HttpRequest) -> HttpResponse:
    """What goes into such a page: elements as tags draw them, or with an empty group as somebody wrote them."""
    return render(request, "frameworks/part.html", request.GET.dict())


def walk(request: HttpRequest, name: str, room: str) -> HttpResponse:
    """A page of a site of which no link is followed by a full load; ``hall`` is a room without a feed."""
    return render(request, "frameworks/walk.html", {"app": name, "room": room, **request.GET.dict()})


def host(request: HttpRequest, style: str) -> HttpResponse:
    """A page with somebody's style sheet, and the elements that ``shown`` names."""
    return render(request, "frameworks/host.html", {"style": style, "shown": "", **request.GET.dict()})


def enter(request: HttpRequest) -> HttpResponse:
    """Signs in an Ann who was never there before: what was said to another is not hers."""
    User.objects.filter(username="ann").delete()
    login(request, User.objects.create_user("ann"))
    return redirect(request.POST["next"])


def say(request: HttpRequest) -> HttpResponse:
    """Has the site say what the query tells: ``body``, and ``group`` or ``to``, perhaps ``data`` and an ``author``."""
    fields = request.GET.dict()
    options = {"to": User.objects.get(username=fields["to"])} if "to" in fields else {"group": fields["group"]}
    if "author" in fields:
        options["author"] = User.objects.get_or_create(username=fields["author"])[0]
    send(fields["body"], data=json.loads(fields.get("data", "null")), **options)
    return HttpResponse()


def blank(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<!doctype html><title>Blank</title>")


urlpatterns = [
    path("app/<name>/", app),
    path("part/", part),
    path("walk/<name>/<room>/", walk),
    path("host/<style>/", host),
    path("enter/", enter),
    path("say/", say),
    path("blank/", blank),
    path("", include("project.urls")),
]
