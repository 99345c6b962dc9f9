"""The host site's addresses: its root is the chat page."""

from django.contrib import admin
from django.urls import include, path

from broadcast.views import log_resource

urlpatterns = [
    path("", log_resource, name="home"),
    path("broadcast/", include("broadcast.urls")),
    path("admin/", admin.site.urls),
]
