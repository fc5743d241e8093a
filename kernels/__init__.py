"""Triton kernels, one per file: the jit function, its launcher, and a torch implementation with the same signature."""
