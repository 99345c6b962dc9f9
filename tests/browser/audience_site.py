"""The addresses by which a test signs in, changes who may what, and sends, all in the server's own process."""

from django.contrib.auth import login, logout
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from broadcast import send_many
from broadcast.audiences import group_for, signed_name


def may(user: User | None, action: str, group: str) -> bool | None:
    """Teams are for their members; whatever else there is goes by the table."""
    kind, _, name = group.partition(".")
    return user is not None and user.groups.filter(name=name).exists() if kind == "team" else None


def blank(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<!doctype html><title>Blank</title>")


def sign_in(request: HttpRequest, name: str) -> HttpResponse:
    login(request, User.objects.get(username=name))
    return HttpResponse()


def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse()


def names(request: HttpRequest, name: str) -> HttpResponse:
    """The user's own group, and the signed name of a group that stands for an object and is for this user."""
    user, ticket = User.objects.get(username=name), Group.objects.get(name="red")
    return HttpResponse(f"{group_for(user)} {signed_name(ticket, user)}")


def say(request: HttpRequest) -> HttpResponse:
    send_many([{"body": request.GET["body"], "group": group} for group in request.GET["groups"].split()])
    return HttpResponse()


def change(request: HttpRequest, what: str, name: str) -> HttpResponse:
    """Changes what a user may; with ``quietly`` by a way of which Django tells nobody."""
    user, on, quietly = User.objects.get(username=name), "on" in request.GET, "quietly" in request.GET
    if what in ("is_staff", "is_active"):
        if quietly:
            User.objects.filter(pk=user.pk).update(**{what: on})
        else:
            setattr(user, what, on)
            user.save()
    elif what == "permission":
        view_group = Permission.objects.get(codename="view_group", content_type__app_label="auth")
        (user.user_permissions.add if on else user.user_permissions.remove)(view_group)
    elif what in ("red", "blue"):
        (user.groups.add if on else user.groups.remove)(Group.objects.get(name=what))
    elif what == "password":
        user.set_password(str(id(request)))
        user.save()
    else:
        assert what == "session"
        keys = [each.pk for each in Session.objects.all() if each.get_decoded().get("_auth_user_id") == str(user.pk)]
        Session.objects.filter(pk__in=keys).delete()
    return HttpResponse()


urlpatterns = [
    path("blank/", blank),
    path("in/<name>/", sign_in),
    path("out/", sign_out),
    path("names/<name>/", names),
    path("say/", say),
    path("change/<what>/<name>/", change),
    path("broadcast/", include("broadcast.urls")),
]
