"""Processes: jobs, the process that runs one, the launcher that watches it and the supervisor that retries.

They may not know the run directory: results go back to the driver as messages.
"""
