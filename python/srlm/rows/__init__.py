"""Rows and their JSON lines files: types, checks, atomic writes, resume, deduplication.

This package must not depend on the configuration, on models or on the stages that use the rows.
"""
