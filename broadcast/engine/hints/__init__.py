"""Hints: news of the log, between the processes of a site, over the channel layer."""
