"""The host site's addresses, and one for publishers that need more than a text in the address bar."""

import json

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from chaos.acts import perform
from project.urls import urlpatterns as host_urlpatterns


@transaction.non_atomic_requests
@csrf_exempt
def act(request: HttpRequest) -> JsonResponse:
    return JsonResponse(perform(**json.loads(request.body)))


urlpatterns = [path("chaos/act", act), *host_urlpatterns]
