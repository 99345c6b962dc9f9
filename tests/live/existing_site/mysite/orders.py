from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.http import HttpResponse


def order(request, number):
    async_to_sync(get_channel_layer().group_send)("orders", {"type": "order.placed", "number": number})
    return HttpResponse("Ordered.")
