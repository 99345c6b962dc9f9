"""The log: how messages are kept in the site's database."""
