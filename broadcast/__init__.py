"""Live messages for Django sites: sent once, kept in a log, pushed to every connected browser."""

from .api import asend, asend_many, send, send_many

__all__ = ["asend", "asend_many", "send", "send_many"]
__version__ = "0.1.0"
