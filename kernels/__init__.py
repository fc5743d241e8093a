"""Triton kernels, one per file: the jit function, its launcher, and a torch implementation with the same signature.

This package must not depend on anything else of srlm: tensors in, tensors out.
"""
