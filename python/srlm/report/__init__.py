"""Reports on runs: `page` writes the HTML report of one run, `compare` compares two runs.

Runs in the driver, on the files in the run directory. Nothing here imports torch, and no metric is computed here.
"""
