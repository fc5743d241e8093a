"""Judge data: what else teaches the judge during the iterations. Each kind is a module with a class; see `base`.

The loop asks for the stages of M_t and for the pairs; it does not know the kinds.
"""
