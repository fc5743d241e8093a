"""Run a test module's cases under Triton's interpreter, in a subprocess: it must be enabled before Triton's import."""

import os
import subprocess
import sys

import pytest
import torch

from tests.once import once


def run_interpreted(module, tmp_path_factory):
    """Return the results that `module.compute_all(file)` saves in a subprocess with interpreted Triton."""
    pytest.importorskip("triton")

    def compute(folder):
        code = f"from {module} import compute_all; compute_all({str(folder / 'results.pt')!r})"
        environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    return torch.load(once(tmp_path_factory, module, compute) / "results.pt")
