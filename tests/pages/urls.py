"""A small site of somebody else's: one page for each way to put the elements into it, under the strictest policy."""

from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import include, path

PAGES = ("toasts", "banner", "bell", "feed", "reading", "several", "by_hand", "chat", "messages")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "require-trusted-types-for 'script'"
)


def guarded(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if not request.path.startswith("/admin/"):
            response["Content-Security-Policy"] = POLICY
        return response

    return answer


def page(request: HttpRequest, name: str) -> HttpResponse:
    """A page by its name; `?error=…` leaves one of Django's messages for it."""
    if "error" in request.GET:
        messages.error(request, request.GET["error"])
    return render(request, f"pages/{name}.html", {"group": request.GET.get("group", "lobby")})


def ticket(request: HttpRequest, key: int) -> HttpResponse:
    """A page about an object, which the view gives to anyone who asks."""
    return render(request, "pages/ticket.html", {"ticket": Group.objects.get(pk=key)})


urlpatterns = [
    *(path(f"{name}/", page, {"name": name}) for name in PAGES),
    path("ticket/<int:key>/", ticket),
    path("", include("project.urls")),
]
