"""Export of a model's answers to external benchmarks (AlpacaEval, MT-Bench, lm-evaluation-harness).

Does not depend on the loop or on a run's manifest.
"""
