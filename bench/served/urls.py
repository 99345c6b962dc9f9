"""The host site's addresses, and two pages that differ in the announcements only."""

from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import path

from project.urls import urlpatterns as of_site

PAGE = "<!doctype html><title>A page</title><p>{{ user.username|default:'Guest' }}</p>"
TAG = "{% load broadcast %}{% broadcast_announcements %}"


@cache
def template(source: str) -> Any:
    return engines["django"].from_string(source)


def bare(request: HttpRequest) -> HttpResponse:
    return HttpResponse(template(PAGE).render({}, request))


def with_announcements(request: HttpRequest) -> HttpResponse:
    return HttpResponse(template(PAGE + TAG).render({}, request))


urlpatterns = [path("bench/bare", bare), path("bench/page", with_announcements), *of_site]
