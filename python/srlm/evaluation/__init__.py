"""Evaluation of every model: judge quality, head-to-head win rates and instruction following."""
