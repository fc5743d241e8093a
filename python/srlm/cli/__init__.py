"""The command line: one module per group of commands, and the terminal output.

Top layer: no other package imports it. It contains no computation of a run.
"""
