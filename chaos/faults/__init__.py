"""Faults: a schedule drawn from a seed, and what each kind does; what a fault breaks it also heals."""
