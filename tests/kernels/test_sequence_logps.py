"""Kernel `sequence_logps`: log-probabilities and gradients against float64."""

import pytest
import torch
from srlm.kernels.sequence_logps import sequence_logps, sequence_statistics

from tests.kernels.heads import CASES, DTYPES, error, make_case, naive_sequences, naive_tokens, relative
from tests.kernels.interpreted import run_interpreted


def upstream(case):
    """Upstream gradients of the sequences, far from uniform."""
    generator = torch.Generator().manual_seed(4)
    return 3 * torch.randn(2 * case.pairs, generator=generator)


def ours(case):
    """Log-probabilities and gradients: a dictionary of tensors."""
    sums = sequence_logps(
        case.hidden, case.weight, case.labels, case.cu_seqlens, bias=case.bias, budget=case.budget, **case.options
    )
    (sums * upstream(case).to(sums)).sum().backward()
    return {"logps": sums.detach()} | {f"grad {name}": leaf.grad for name, leaf in case.leaves.items()}


def plain(case):
    """The same by autograd over all logits, in the case's dtype."""
    sums = naive_sequences(case)
    if sums.requires_grad:
        (sums * upstream(case).to(sums)).sum().backward()
    grads = {
        f"grad {name}": torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in case.leaves.items()
    }
    return {"logps": sums.detach(), **grads}


def check(found, case, dtype):
    exact, naive = plain(case.to(dtype).to(torch.float64)), plain(case.to(dtype))
    assert found["logps"].dtype == torch.float32
    tolerance = 4 * torch.finfo(torch.float32).eps * max(1.0, float(exact["logps"].abs().sum()))
    assert error(found["logps"], exact["logps"]) <= error(naive["logps"], exact["logps"]) + tolerance
    for name, value in found.items():
        assert value.isfinite().all(), name
        if name != "logps":
            assert value.dtype == dtype
            # Matmuls of few rows sum over the vocabulary in another order than those of many rows.
            limit = (
                relative(naive[name], exact[name]) + (16 if dtype == torch.float32 else 0.1) * torch.finfo(dtype).eps
            )
            assert relative(value, exact[name]) <= limit, name


# The largest cases take seconds to interpret; the tests of `preference_loss` run the same kernels on them.
INTERPRETED = [name for name, case in CASES.items() if case.weight.shape[0] < 20_000 and len(case.labels) < 500]


def compute_all(file):
    """Run cases with interpreted kernels (in a subprocess) and save the results."""
    torch.save(
        {
            (name, dtype): ours(CASES[name].to(DTYPES[dtype]))
            for name in INTERPRETED
            for dtype in ("float32", "float16")
        },
        file,
    )


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    return run_interpreted(__name__, tmp_path_factory)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_torch(name, dtype):
    check(ours(CASES[name].to(DTYPES[dtype])), CASES[name], DTYPES[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", INTERPRETED)
def test_interpreted(interpreted, name, dtype):
    check(interpreted[name, dtype], CASES[name], DTYPES[dtype])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_on_a_gpu(name, dtype):
    found = {key: value.cpu() for key, value in ours(CASES[name].to(DTYPES[dtype], "cuda")).items()}
    check(found, CASES[name], DTYPES[dtype])


@pytest.mark.parametrize("options", [{}, {"softcap": 2.0, "logit_scale": 0.6, "temperature": 1.4}])
@pytest.mark.parametrize("budget_rows", [None, 4])
def test_gradcheck(options, budget_rows):
    """Numerical derivatives of the torch implementation, with a different upstream gradient per sequence."""
    case = make_case([4, 0, 2, 5], 5, 11, bias=True, budget_rows=budget_rows, masked=(2,), **options).to(torch.float64)

    def logps(hidden, weight, bias):
        return sequence_logps(hidden, weight, case.labels, case.cu_seqlens, bias=bias, budget=case.budget, **options)

    assert torch.autograd.gradcheck(logps, (case.hidden, case.weight, case.bias))


def test_rounded_logits_would_be_worse():
    """The statistics are computed before rounding: in bfloat16 the naive implementation has a far larger error."""
    case = make_case([400, 300], 64, 8200, size=4.0).to(torch.bfloat16)
    exact = naive_sequences(case.to(torch.float64))
    found = sequence_logps(case.hidden, case.weight, case.labels, case.cu_seqlens)
    assert error(found, exact) < 1e-2
    assert error(naive_sequences(case), exact) > 50 * error(found, exact)


def test_without_gradients():
    """As for the reference: logits computed once, nothing saved for backward."""
    case = CASES["everything"].to(torch.float32)
    sums, top1 = sequence_statistics(
        case.hidden, case.weight, case.labels, case.cu_seqlens, bias=case.bias, **case.options
    )
    assert not sums.requires_grad
    assert error(sums, naive_sequences(case.to(torch.float64))) < 1e-4
    assert top1.shape == sums.shape
    with torch.no_grad():
        again = sequence_logps(case.hidden, case.weight, case.labels, case.cu_seqlens, bias=case.bias, **case.options)
    assert torch.equal(again, sums)


def test_cu_seqlens_as_a_tensor():
    case = CASES["252 rows"]
    as_list = sequence_logps(case.hidden, case.weight, case.labels, case.cu_seqlens)
    assert torch.equal(as_list, sequence_logps(case.hidden, case.weight, case.labels, torch.tensor(case.cu_seqlens)))


def test_each_row_as_a_sequence():
    """Sequences of one row give log-probabilities per token."""
    case = CASES["bias"].to(torch.float64)
    rows = list(range(len(case.labels) + 1))
    tokens = sequence_logps(case.hidden, case.weight, case.labels, rows, bias=case.bias)
    assert error(tokens, naive_tokens(case)) < 1e-12


def test_invalid_inputs():
    case = CASES["one pair"]
    with pytest.raises(ValueError, match="must rise from 0"):
        sequence_logps(case.hidden, case.weight, case.labels, [0, 1])
    with pytest.raises(ValueError, match="expected hidden"):
        sequence_logps(case.hidden[None], case.weight, case.labels, case.cu_seqlens)
