"""Lanes: publishers, each of which sends numbered messages one act after the other."""
