"""The chunked projection: rows per budget, and the calls that only run on a GPU."""

import pytest
import torch
from srlm.kernels import output_head
from srlm.kernels.logit_transform import LogitTransform
from srlm.kernels.output_head import CPU_BUDGET, TILE, Gradients, OutputHead, compute_dtype
from srlm.kernels.segments import expand_to_rows, sum_rows


def head_of(rows, vocabulary, dtype, weight_dtype=None, budget=None):
    weight = torch.empty(vocabulary, 4, dtype=weight_dtype or dtype)
    return OutputHead(weight, None, LogitTransform(), dtype=dtype, rows=rows, budget=budget)


@pytest.mark.parametrize(
    ("vocabulary", "dtype", "row_bytes"),
    [
        (5000, torch.float32, 20_000),
        (5000, torch.float64, 40_000),
        (5000, torch.bfloat16, 10_000 + 20_000),  # the exponentials, and one tile of the product
        (50_000, torch.float16, 100_000 + 4 * TILE),
    ],
)
def test_rows_of_a_chunk(vocabulary, dtype, row_bytes):
    assert head_of(10**6, vocabulary, dtype, budget=7 * row_bytes + 5).chunk_rows == 7
    assert head_of(2, vocabulary, dtype, budget=1).chunk_rows == 1
    assert head_of(2, vocabulary, dtype).chunk_rows == CPU_BUDGET // row_bytes


def test_workspace_is_limited_to_the_number_of_rows():
    head = head_of(3, 1000, torch.float32)
    assert head._exps.numel() == 3000
    assert head._products is head._exps


def test_compute_dtype():
    hidden = torch.zeros(1, 2)
    assert compute_dtype(hidden) == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert compute_dtype(hidden) == torch.bfloat16
        assert compute_dtype(hidden.double()) == torch.float64


def test_sum_rows_and_expand_to_rows():
    values = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert sum_rows(values, [0, 1, 1, 4], torch.float32).tolist() == [1.0, 0.0, 9.0]
    assert sum_rows(values[:0], [0], torch.float32).shape == (0,)
    assert expand_to_rows(torch.tensor([5.0, 6.0, 7.0]), [2, 3, 3, 6]).tolist() == [5.0, 7.0, 7.0, 7.0]


def test_sums_of_many_rows_are_exact():
    """A float32 sum of a hundred thousand equal terms would drift."""
    values = torch.full((100_000,), -3.1)
    exact = float(torch.tensor(-3.1).double()) * 100_000
    assert float(sum_rows(values, [0, 100_000], torch.float32)) == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize(
    ("dtype", "weight_dtype"),
    [
        (torch.bfloat16, torch.bfloat16),
        (torch.bfloat16, torch.float32),  # autocast over float32 weights
        (torch.float32, torch.float32),
    ],
)
def test_calls_on_a_gpu_are_consistent(monkeypatch, dtype, weight_dtype):
    """On fake tensors: shapes, dtypes and overloads of the GPU matmuls, not their results."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    calls = []

    def online_logsumexp(product, bias, labels, exps, maximum, total, label_logit, transform, weighted):
        calls.append((product.shape, product.dtype, exps.shape, exps.dtype))
        assert bias.shape == exps.shape[1:]
        assert maximum.shape == total.shape == label_logit.shape == labels.shape == weighted.shape == (33,)

    monkeypatch.setattr(output_head, "online_logsumexp", online_logsumexp)
    monkeypatch.setattr(output_head, "grad_logits", lambda *_: None)
    vocabulary, dimensions, rows = 20_000, 64, 33
    with FakeTensorMode():
        weight = torch.empty(vocabulary, dimensions, dtype=weight_dtype, device="cuda")
        hidden = torch.empty(rows, dimensions, dtype=dtype, device="cuda")
        labels = torch.zeros(rows, dtype=torch.int64, device="cuda")
        bias = torch.empty(vocabulary, device="cuda")
        head = OutputHead(weight, bias, LogitTransform(), dtype=dtype, rows=rows)
        statistics = head.forward(hidden, labels, entropy=True)
        gradients = Gradients(torch.zeros_like(hidden), weight.new_zeros(weight.shape, dtype=torch.float32), bias)
        head.backward(hidden, labels, statistics, torch.empty(rows, device="cuda"), gradients, slice(0, rows))
    widths = [TILE, TILE, vocabulary - 2 * TILE]
    assert calls == [((rows, width), torch.float32, (rows, width), dtype) for width in widths]
    assert statistics.factor.shape == (3, rows)
    assert statistics.logps.dtype == torch.float64
