"""The run directory: what makes a stage done, its cache keys, the archive of stale stages, the lock.

It must not depend on what is evaluated, nor on the order of the loop's stages.
"""
