"""The elements of a page, as they are served."""
