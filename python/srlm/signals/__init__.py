"""Signals: what says which of a prompt's answers are better. Each kind is a module with a class; see `base.Signal`.

The loop asks the signal for its stage, and the pairs are selected from its columns; neither knows the kinds.
"""
