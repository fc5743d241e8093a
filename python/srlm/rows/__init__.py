"""Rows and their JSON lines files: types, checks, atomic writes, resume, deduplication.

They may not know the configuration, models or what a row is for.
"""
