"""The data stages of the paper, on files of rows: seed, EFT, prompts, candidates, verdicts, pairs.

This package must not depend on worker processes, the run directory or training; a model is an `engines.base.Engine`.
"""
