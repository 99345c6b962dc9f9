from channels.generic.websocket import AsyncJsonWebsocketConsumer


class EchoConsumer(AsyncJsonWebsocketConsumer):
    groups = ["orders"]

    async def receive_json(self, content):
        await self.send_json({"echo": content})

    async def order_placed(self, event):
        await self.send_json({"order": event["number"]})
