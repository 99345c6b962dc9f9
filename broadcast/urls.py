"""The app's addresses: the group's log as a resource, what its elements ask, and an announcement behind it."""

from __future__ import annotations

from django.urls import path, re_path

from . import views
from .elements import views as elements

app_name = "broadcast"

urlpatterns = [
    path("", views.log_resource, name="log"),
    path("-/received", elements.received_list, name="received"),
    path("-/read", elements.read, name="read"),
    path("-/dismissed", elements.dismissed, name="dismissed"),
    re_path(r"^(?P<msg>(?s:.+))\Z", views.announce, name="announce"),  # slashes, line breaks and all
]
