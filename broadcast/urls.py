from __future__ import annotations

from django.urls import path, register_converter

from . import views


class TypedTextConverter:
    """What was typed behind the address: slashes, line breaks and all."""

    regex = r"(?s:.+)"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(TypedTextConverter, "typed")

app_name = "broadcast"

urlpatterns = [
    path("", views.log_resource, name="log"),
    path("<typed:msg>", views.announce, name="announce"),
]
