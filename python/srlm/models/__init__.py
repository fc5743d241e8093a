"""Models by name and folder: resolving, loading, saving identity, chat encoding.

They may not know engines, stages or runs.
"""
