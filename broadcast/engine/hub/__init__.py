"""The hub: from the log to the connections, each at its own position."""
