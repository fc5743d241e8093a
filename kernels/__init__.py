"""Triton kernels, one file each: the jit function, its launcher, and a torch twin under the same signature."""
