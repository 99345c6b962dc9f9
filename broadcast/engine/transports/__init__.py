"""Transports: how bytes leave, directly on daphne, by ASGI elsewhere."""
