"""The simulations of benches/bench_claims.py, with fewer runs: claims without a difference are at most 5 %."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "benches" / "bench_claims.py"
RUNS = 60


def load():
    spec = importlib.util.spec_from_file_location("bench_claims", BENCH)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench = load()
CELLS = list(bench.cells())


@pytest.mark.parametrize("kind", sorted({cell.kind for cell in CELLS}))
def test_claims_without_a_difference(kind):
    """All cases of a kind together: their claims are independent, and within three standard deviations of 5 %."""
    cells = [cell for cell in CELLS if cell.kind == kind]
    count = sum(bench.claims(cell, RUNS, seed) for seed, cell in enumerate(cells))
    assert count <= bench.limit(RUNS * len(cells))


@pytest.mark.parametrize("decisive", ["2 decisive prompts", "5 decisive prompts", "2 of 541 prompts differ"])
def test_few_decisive_prompts_claim_nothing(decisive):
    [cell] = [cell for cell in CELLS if cell.case == decisive]
    assert bench.claims(cell, 300) == 0
