"""The judge: what publishers were told and what clients saw, held against all that the log ever kept."""
