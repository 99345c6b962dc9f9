"""The host site's addresses, and those for publishers that need more than a text in the address bar."""

import json

from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from broadcast.engine.process import current_process
from chaos.acts import perform
from project.urls import urlpatterns as host_urlpatterns


@transaction.non_atomic_requests
@csrf_exempt
def act(request: HttpRequest) -> JsonResponse:
    return JsonResponse(perform(**json.loads(request.body)))


@transaction.non_atomic_requests
@csrf_exempt
def erase(request: HttpRequest) -> HttpResponse:
    """Does what the admin's page for a group does."""
    current_process().pruning.erase(request.body.decode())
    return HttpResponse()


urlpatterns = [path("chaos/act", act), path("chaos/erase", erase), *host_urlpatterns]
