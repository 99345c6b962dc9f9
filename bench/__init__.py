"""The benchmark: what a message to many costs, on this project and on others, side by side.

`python -m bench --help` says how to run it; docs/performance.md says what the figures mean.
"""
