"""The stages of the paper on files of rows: seed, EFT, prompts, candidates, verdicts, pairs.

They may not know processes, the run directory or training; a model is an `engines.base.Engine`.
"""
