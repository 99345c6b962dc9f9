"""A database engine for the processes under chaos: PostgreSQL over a link that breaks during COMMIT."""
