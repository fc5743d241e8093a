"""Self-rewarding language models (Yuan et al. 2024, arXiv 2401.10020): one command from a base model to M1, M2, M3.

Read `srlm.loop` first: it is the paper's figure as code. Importing this package imports nothing heavy.
"""

from srlm._native import __version__

__all__ = ["__version__"]
