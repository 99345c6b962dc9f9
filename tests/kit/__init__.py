"""The test kit: what more than one test needs, once."""
