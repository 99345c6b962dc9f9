"""Hints: how hubs hear that a log has grown."""
