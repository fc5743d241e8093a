"""Models: resolving names, loading, hashing, and chat encoding.

This package must not depend on engines, stages or runs.
"""
