"""Diagnostics of a deployment: ``manage.py broadcast doctor``."""
