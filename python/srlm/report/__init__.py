"""A run as a page to read: `page` writes the report of one run, `compare` sets two runs side by side.

Runs in the driver, on what lies in the run's folder: nothing here imports torch, and nothing is measured here.
"""
