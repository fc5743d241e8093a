"""The command line: one module per group of commands, and what the terminal shows.

Top layer: nothing imports it. It may not contain what a run computes.
"""
