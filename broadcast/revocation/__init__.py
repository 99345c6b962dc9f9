"""Ending what somebody has lost the right to."""
