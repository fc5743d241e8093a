"""Kernel `cross_entropy`: loss, gradients and metrics against float64, on torch, interpreted Triton and a GPU."""

import math
from dataclasses import replace

import pytest
import torch
from srlm.kernels.cross_entropy import cross_entropy
from srlm.kernels.output_head import OutputHead
from torch.nn.functional import cross_entropy as torch_cross_entropy

from tests.kernels.heads import CASES, DTYPES, error, logits_of, make_case, naive_tokens, relative
from tests.kernels.interpreted import run_interpreted

METRICS = ("logps", "entropy", "top1")


def weights_of(case):
    """Weights of the rows, so that upstream gradients are not uniform; every fifth is zero."""
    weights = torch.rand(len(case.labels), generator=torch.Generator().manual_seed(8)) + 0.5
    weights[2::5] = 0.0
    return weights


def ours(case, scale=1.0):
    """Loss, metrics and gradients: a dictionary of tensors."""
    weights = weights_of(case).to(case.hidden.device)
    loss, metrics = cross_entropy(
        case.hidden, case.weight, case.labels, weights, bias=case.bias, budget=case.budget, **case.options
    )
    (scale * loss).backward()
    found = {"loss": loss.detach()} | {name: getattr(metrics, name) for name in METRICS}
    return found | {f"grad {name}": leaf.grad for name, leaf in case.leaves.items()}


def plain(case, scale=1.0):
    """The same by autograd over all logits, in the case's dtype."""
    tokens = naive_tokens(case)
    wide = tokens if tokens.dtype == torch.float64 else tokens.float()
    loss = -(weights_of(case).to(wide) * wide).sum()
    (scale * loss).backward()
    logits, unmasked = logits_of(case).detach(), case.labels != -100
    logps = logits.log_softmax(-1)
    label_logits = logits.gather(1, case.labels.clamp(min=0)[:, None])[:, 0]
    found = {
        "loss": loss.detach(),
        "logps": tokens.detach(),
        "entropy": torch.special.entr(logps.exp()).sum(-1) * unmasked,
        "top1": (label_logits >= logits.amax(-1)) & unmasked,
    }
    return found | {f"grad {name}": leaf.grad for name, leaf in case.leaves.items()}


def check(found, case, dtype):
    """The error is at most that of the naive implementation in the same dtype, plus rounding of that dtype."""
    exact, naive = plain(case.to(dtype).to(torch.float64)), plain(case.to(dtype))
    assert torch.equal(found["top1"], exact["top1"])
    for name in sorted(found.keys() - {"top1"}):
        value = found[name]
        assert value.isfinite().all(), name
        if name.startswith("grad"):
            assert value.dtype == dtype
            # Matmuls of few rows sum over the vocabulary in another order than those of many rows.
            rounding = 16 if dtype == torch.float32 else 0.1
            limit = relative(naive[name], exact[name]) + rounding * torch.finfo(dtype).eps
            assert relative(value, exact[name]) <= limit, name
        else:
            assert value.dtype == torch.float32
            size = float(exact["logps"].abs().sum()) if name == "loss" else float(exact[name].abs().sum() ** 0.5)
            tolerance = 4 * torch.finfo(torch.float32).eps * max(1.0, size)
            assert error(value, exact[name]) <= error(naive[name], exact[name]) + tolerance, name


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


@pytest.mark.parametrize("name", CASES)
def test_float64_is_exact(name):
    case = CASES[name]
    found, exact = ours(case.to(torch.float64)), plain(case.to(torch.float64))
    assert torch.equal(found.pop("top1"), exact["top1"])
    for key, value in found.items():
        assert value.dtype == torch.float64
        size = max(1.0, float(value.abs().max()) if value.numel() else 1.0)
        assert error(value, exact[key]) < 1e-12 * size, key


def test_mean_is_that_of_torch():
    """Weights of 1 / n, n the number of rows not masked, give torch's loss."""
    case = CASES["some rows masked"].to(torch.float64)
    unmasked = int((case.labels != -100).sum())
    weights = torch.full(case.labels.shape, 1 / unmasked, dtype=torch.float64)
    loss, _ = cross_entropy(case.hidden, case.weight, case.labels, weights)
    assert error(loss.detach(), torch_cross_entropy(logits_of(case), case.labels).detach()) < 1e-13


@pytest.mark.parametrize("name", ["everything", "a row a chunk", "some rows masked"])
def test_gradcheck(name):
    """Numerical derivatives of the torch implementation, for each input."""
    case = CASES[name]
    small = make_case(
        [4, 3, 2, 5],
        5,
        11,
        bias=case.bias is not None,
        budget_rows=case.budget_rows,
        masked=(1, 7) if name == "some rows masked" else (),
        **case.options,
    ).to(torch.float64)

    def loss(*leaves):
        hidden, weight, *bias = leaves
        return cross_entropy(
            hidden, weight, small.labels, weights_of(small), bias=bias[0] if bias else None, budget=small.budget,
            **small.options,
        )[0]  # fmt: skip

    class Again(torch.autograd.Function):
        """Recomputes the loss in each backward pass, because backward runs only once and gradcheck runs it twice."""

        @staticmethod
        def forward(ctx, *leaves):
            ctx.save_for_backward(*leaves)
            return loss(*leaves)

        @staticmethod
        def backward(ctx, upstream):
            with torch.enable_grad():
                leaves = [leaf.detach().requires_grad_() for leaf in ctx.saved_tensors]
                return torch.autograd.grad(loss(*leaves), leaves, upstream)

    assert torch.autograd.gradcheck(Again.apply, tuple(small.leaves.values()))


@pytest.mark.parametrize("size", [0.01, 1.0, 6.0, 40.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_entropy_from_uniform_to_certain(size, dtype):
    """From log V down to nearly nothing, over three tiles; exponentials that underflow add nothing."""
    case = make_case([9, 8], 32, 20_011, size=size).to(DTYPES[dtype])
    exact = plain(case.to(torch.float64))["entropy"]
    entropy = ours(case)["entropy"]
    assert error(entropy, exact) < 1e-5
    assert float(entropy.min()) >= 0
    if size == 0.01:
        assert float(entropy.mean()) == pytest.approx(math.log(20_011), abs=1e-3)
    if size == 40.0:
        assert float(entropy.min()) < 0.1


def test_entropy_where_two_tokens_are_left():
    """All other tokens have probability zero, by logits of -inf and by logits far below."""
    for low in (-torch.inf, -1e30, -500.0):
        weight = torch.full((9000, 1), low, dtype=torch.float32)
        weight[[3, 8999]] = 2.0
        _, metrics = cross_entropy(torch.ones(1, 1), weight, torch.tensor([3]), torch.ones(1))
        assert float(metrics.entropy) == pytest.approx(math.log(2), abs=1e-6)
        assert float(metrics.logps) == pytest.approx(-math.log(2), abs=1e-6)


def test_top1():
    case = make_case([9, 8], 32, 8200, masked=(4,)).to(torch.float32)
    best = logits_of(case).argmax(-1)
    labels = torch.where(torch.arange(17) % 2 == 0, best, case.labels)
    labels[case.labels == -100] = -100
    _, metrics = cross_entropy(case.hidden, case.weight, labels, torch.ones(17))
    assert metrics.top1.tolist() == (best == labels).tolist()
    assert metrics.top1.sum() == 8


def test_masked_rows_have_zero_metrics_and_no_gradient():
    case = CASES["some rows masked"].to(torch.float32)
    found = ours(case)
    masked = case.labels == -100
    for name in (*METRICS, "grad hidden"):
        assert not found[name][masked].any(), name
        assert name == "top1" or found[name][~masked].any(), name


def test_rows_of_weight_zero():
    """No part in loss and gradient, but in the metrics."""
    case = CASES["bias"].to(torch.float64)
    found = ours(case)
    zero = weights_of(case) == 0
    assert zero.any()
    assert not found["grad hidden"][zero].any()
    assert found["logps"][zero].all()
    assert found["entropy"][zero].all()


def test_no_rows():
    case = CASES["no pairs"].to(torch.float32)
    found = ours(case)
    assert found["loss"].shape == ()
    assert float(found["loss"]) == 0.0
    assert found["logps"].shape == found["entropy"].shape == found["top1"].shape == (0,)
    assert not found["grad weight"].any()


def test_a_hidden_state_used_by_several_rows():
    """A position that several continuations follow is gathered once for each: its gradients add up."""
    case = CASES["bias"].to(torch.float64)
    rows = torch.tensor([0, 0, 3, 0, 5, 3])
    loss, _ = cross_entropy(
        case.hidden.index_select(0, rows), case.weight, case.labels[:6], weights_of(case)[:6], bias=case.bias
    )
    loss.backward()
    again = case.to(torch.float64)
    tokens = naive_tokens(replace(again, hidden=again.hidden[rows], labels=case.labels[:6]))
    (-weights_of(case)[:6].double() * tokens).sum().backward()
    assert error(case.hidden.grad, again.hidden.grad) < 1e-13
    assert error(case.weight.grad, again.weight.grad) < 1e-13


@pytest.mark.parametrize("scale", [0.125, 4096.0])
def test_upstream_gradient(scale):
    """Gradient accumulation divides the loss and GradScaler multiplies it."""
    case = CASES["chunks of pairs"]
    for dtype in (torch.float32, torch.float16):
        found, exact = ours(case.to(dtype), scale=scale), plain(case.to(dtype).to(torch.float64), scale=scale)
        for name in ("grad hidden", "grad weight"):
            assert relative(found[name], exact[name]) < 30 * torch.finfo(dtype).eps


def test_tiny_weights_survive_float16():
    """Without scaling, most gradients below 6e-8 would be rounded to zero before GradScaler sees them."""
    case, weights = make_case([6, 5, 4, 8], 32, 8200).to(torch.float16), torch.full((23,), 1e-6)
    loss, _ = cross_entropy(case.hidden, case.weight, case.labels, weights)
    (65536.0 * loss).backward()
    exact = case.to(torch.float64)
    (65536.0 * 1e-6 * -naive_tokens(exact).sum()).backward()
    for found, leaf in zip(case.leaves.values(), exact.leaves.values(), strict=True):
        assert relative(found.grad, leaf.grad) < 0.01


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16])
def test_autocast(autocast):
    """Matmuls use autocast's dtype; the loss stays float32, and gradients have the dtype of their leaves."""
    case = CASES["bias"].to(torch.float32)
    with torch.autocast("cpu", autocast):
        found = ours(case)
    exact = plain(CASES["bias"].to(torch.float64))
    assert found["loss"].dtype == found["entropy"].dtype == found["grad weight"].dtype == torch.float32
    assert 1e-5 < relative(found["grad weight"], exact["grad weight"]) < 0.02
    assert error(found["loss"], exact["loss"]) < 0.1
    assert error(found["entropy"], exact["entropy"]) < 0.01


def test_frozen_inputs(monkeypatch):
    """Gradients of frozen inputs are not computed."""
    monkeypatch.delattr(OutputHead, "_add_grad_weight")
    case = CASES["bias"].to(torch.float32)
    case.weight.requires_grad_(False)
    case.bias.requires_grad_(False)
    found = ours(case)
    assert found["grad weight"] is None
    assert found["grad bias"] is None
    assert relative(found["grad hidden"], plain(CASES["bias"].to(torch.float64))["grad hidden"]) < 1e-6


def test_without_gradients(monkeypatch):
    """Only the logits are computed, with the same results."""
    case = CASES["bias"].to(torch.float32)
    exact = ours(case)
    monkeypatch.delattr(OutputHead, "backward")
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            loss, metrics = cross_entropy(case.hidden, case.weight, case.labels, weights_of(case), bias=case.bias)
        assert not loss.requires_grad
        assert torch.equal(loss, exact["loss"])
        assert torch.equal(metrics.entropy, exact["entropy"])


def test_metrics_have_no_gradient():
    case = CASES["bias"].to(torch.float32)
    weights = weights_of(case).requires_grad_()
    loss, metrics = cross_entropy(case.hidden, case.weight, case.labels, weights)
    assert not any(getattr(metrics, name).requires_grad for name in METRICS)
    loss.backward()
    assert weights.grad is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_tokens_masked_by_the_bias(dtype):
    """A bias of -inf over a whole tile, and over part of another."""
    case = make_case([4, 3, 5, 2], 32, 20_000, bias=True)
    case.bias[:9000] = -torch.inf
    case = replace(case, labels=case.labels.clamp(min=9000))
    found = ours(case.to(DTYPES[dtype]))
    exact = plain(case.to(DTYPES[dtype]).to(torch.float64))
    assert error(found["loss"], exact["loss"]) < 1e-4
    assert error(found["entropy"], exact["entropy"]) < 1e-5
    assert relative(found["grad weight"], exact["grad weight"]) < 2 * torch.finfo(DTYPES[dtype]).eps + 1e-5
    assert not found["grad bias"][:9000].any()


def test_rounded_logits_would_be_worse():
    """The statistics are computed before rounding: in bfloat16 the naive implementation has a far larger error."""
    case = make_case([400, 300], 64, 8200, size=4.0).to(torch.bfloat16)
    exact, naive, found = plain(case.to(torch.float64)), plain(case.to(torch.bfloat16)), ours(case)
    for name in ("loss", "logps", "entropy"):
        assert error(naive[name], exact[name]) > 50 * error(found[name], exact[name]), name


def test_backward_runs_only_once():
    case = CASES["one pair"].to(torch.float32)
    loss, _ = cross_entropy(case.hidden, case.weight, case.labels, torch.ones(2))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match=r"cross_entropy: backward can run only once; call cross_entropy again"):
        loss.backward()


def test_chunks_give_the_same_result():
    whole = make_case([30, 41], 32, 8200, bias=True, softcap=6.0)
    exact = ours(whole.to(torch.float64))
    for rows in (1, 7, 70, 71):
        for name, value in ours(replace(whole, budget_rows=rows).to(torch.float64)).items():
            assert error(value, exact[name]) < 1e-12, name


def test_workspace_stays_within_its_budget():
    """No N x V tensor is allocated: the largest allocation fits the budget plus the gradients."""
    rows, dimensions, vocabulary = 600, 16, 20_000
    case = make_case([100] * 6, dimensions, vocabulary).to(torch.float32)
    budget = 60 * vocabulary * 4  # a tenth of the logits
    with torch.profiler.profile(profile_memory=True) as profile:
        loss, _ = cross_entropy(case.hidden, case.weight, case.labels, weights_of(case), budget=budget)
        loss.backward()
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest <= budget + 4 * (rows + vocabulary) * dimensions
    assert largest < rows * vocabulary * 4 / 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": torch.zeros(7, 31)}, r"expected hidden \[N, D\], weight \[V, D\] and labels \[N\], found hidden"),
        ({"labels": torch.full((7,), 301)}, r"labels must lie in \[0, 301\) or be -100, found 301 to 301"),
        ({"bias": torch.zeros(300)}, r"expected bias \[V\], found \(300,\)"),
        ({"options": {"softcap": 0.0}}, "softcap must be a positive number, found 0.0"),
    ],
)
def test_invalid_inputs(changes, message):
    case = replace(CASES["all rows masked"], **changes)
    with pytest.raises(ValueError, match=message):
        cross_entropy(case.hidden, case.weight, case.labels, torch.ones(7), bias=case.bias, **case.options)


def test_weights_of_a_wrong_shape():
    case = CASES["one pair"]
    with pytest.raises(ValueError, match=r"expected weights \[2\], found \[3\]"):
        cross_entropy(case.hidden, case.weight, case.labels, torch.ones(3))
