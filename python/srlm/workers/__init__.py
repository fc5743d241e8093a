"""Processes: jobs, the process that runs one, the launcher that watches it and the supervisor that retries.

This package must not depend on the run directory: results go back to the driver as messages.
"""
