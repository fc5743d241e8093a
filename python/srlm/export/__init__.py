"""Answers of a model in the file formats of external benchmarks (AlpacaEval, MT-Bench, lm-evaluation-harness).

It may not know the loop or a run's manifest.
"""
