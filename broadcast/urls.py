"""The app's addresses: the group's log as a resource, and whatever is typed behind it as an announcement."""

from __future__ import annotations

from django.urls import path, re_path

from . import views

app_name = "broadcast"

urlpatterns = [
    path("", views.log_resource, name="log"),
    re_path(r"^(?P<msg>(?s:.+))\Z", views.announce, name="announce"),  # slashes, line breaks and all
]
