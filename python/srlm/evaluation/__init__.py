"""Evaluation of every model: judge quality, head-to-head win rates, instruction following; and gates on its data.

This package must not depend on the loop, the report or the command line: it measures what it is asked for.
"""
