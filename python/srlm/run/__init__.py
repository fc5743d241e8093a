"""The run directory: what makes a stage done, its cache keys, the archive of stale stages, the lock.

It may not know what is evaluated or in which order the loop asks for stages.
"""
