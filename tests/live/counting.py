"""The host site with one more address, which tells how many statements went to the app's tables."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from bench.served import queries

queries.count()


def statements(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(queries.counted()["queries"]))


urlpatterns = [path("statements", statements), path("", include("project.urls"))]
