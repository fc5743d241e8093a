"""Compile a kernel for GPU architectures without a GPU, and check its shared memory and registers."""

import re
import subprocess
import tempfile

import pytest

# Compute capability -> bytes of shared memory that one block may use (CUDA C++ programming guide).
SHARED_MEMORY = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}
POINTERS = {"bf16": "*bf16", "fp16": "*fp16", "fp32": "*fp32"}


def check_compiles(kernel, signature, constants, capability, num_warps=4):
    """Compile for an architecture; fail if shared memory exceeds its limit or registers spill."""
    triton = pytest.importorskip("triton")
    from triton import knobs
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = list(signature) + list(constants)
    source = ASTSource(
        fn=kernel,
        signature={**signature, **dict.fromkeys(constants, "constexpr")},
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    target = GPUTarget("cuda", capability, 32)
    compiled = triton.compile(source, target=target, options={"num_warps": num_warps})
    assert compiled.asm["cubin"].startswith(b"\x7fELF")
    assert compiled.metadata.shared <= SHARED_MEMORY[capability]
    assembler = knobs.nvidia.ptxas_blackwell if capability >= 100 else knobs.nvidia.ptxas
    report = assemble(assembler.path, compiled.asm["ptx"])
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert spills == [("0", "0")], report


def assemble(assembler, ptx):
    """Return the assembler's report on a kernel's registers."""
    architecture = re.search(r"\.target (\w+)", ptx).group(1)
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        command = [assembler, "-v", f"--gpu-name={architecture}", file.name, "-o", "/dev/null"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
