"""Kernel `preference_loss`: loss and gradients against float64, on torch, interpreted Triton and a GPU."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from srlm.kernels.output_head import OutputHead
from srlm.kernels.preference_loss import PairLogps, preference_loss
from srlm.losses import FUSED, LossSettings, combine
from torch.nn.functional import logsigmoid

from tests.kernels.heads import CASES, DTYPES, error, make_case, naive_sequences, relative
from tests.kernels.interpreted import run_interpreted

SETTINGS = LossSettings(beta=0.3, label_smoothing=0.1, simpo_gamma=0.4)
SIGMOID = combine(["sigmoid"], [1.0], SETTINGS)


def references(case):
    generator = torch.Generator().manual_seed(7)
    return -6.0 * torch.rand(case.pairs, 2, generator=generator)


def weights_of(case):
    """Weights of the pairs, so that upstream gradients are not uniform."""
    return torch.rand(case.pairs, generator=torch.Generator().manual_seed(8)) + 0.5


def targets_of(case):
    """Confidences and scores of the pairs."""
    generator = torch.Generator().manual_seed(9)
    return torch.rand(case.pairs, generator=generator), torch.rand(case.pairs, 2, generator=generator)


def ours(case, loss_fn=SIGMOID, scale=1.0):
    """Loss, log-probabilities and gradients: a dictionary of tensors."""
    device = case.hidden.device
    confidences, scores = targets_of(case)
    loss, metrics = preference_loss(
        case.hidden,
        case.weight,
        case.labels,
        case.cu_seqlens,
        references(case).to(device),
        loss_fn,
        weights=weights_of(case).to(device),
        confidences=confidences.to(device),
        scores=scores.to(device),
        bias=case.bias,
        budget=case.budget,
        **case.options,
    )
    (scale * loss).backward()
    found = {"loss": loss.detach(), "chosen": metrics.chosen_logps, "rejected": metrics.rejected_logps}
    return found | {f"grad {name}": leaf.grad for name, leaf in case.leaves.items()}


def plain(case, loss_fn=SIGMOID, scale=1.0):
    """The same by autograd over all logits, in the case's dtype."""
    sums = naive_sequences(case).view(-1, 2)
    refs = references(case).to(sums)
    counts = [int((case.labels[start:end] != -100).sum()) for start, end in pairwise(case.cu_seqlens)]
    lengths = torch.tensor(counts).view(-1, 2).to(sums)
    mean = lengths[:, 0].sum() / max(len(lengths), 1)
    confidences, scores = (each.to(sums) for each in targets_of(case))
    columns = [side for each in (sums, refs, lengths) for side in each.unbind(1)]
    pairs = PairLogps(*columns, mean, confidences, *scores.unbind(1))
    loss = (loss_fn(pairs) * weights_of(case).to(sums)).sum() / max(len(sums), 1)
    if sums.requires_grad and loss.requires_grad:
        (scale * loss).backward()
    found = {"loss": loss.detach(), "chosen": sums[:, 0].detach(), "rejected": sums[:, 1].detach()}
    zeros = {name: torch.zeros_like(leaf) for name, leaf in case.leaves.items()}
    return found | {
        f"grad {name}": zeros[name] if leaf.grad is None else leaf.grad for name, leaf in case.leaves.items()
    }


def check(found, case, dtype):
    """The error is at most that of the naive implementation in the same dtype, plus rounding of that dtype."""
    exact, naive = plain(case.to(dtype).to(torch.float64)), plain(case.to(dtype))
    tolerance = 4 * torch.finfo(torch.float32).eps * max(1.0, float(exact["chosen"].abs().sum()) if case.pairs else 1.0)
    for name, value in found.items():
        assert value.isfinite().all(), name
        if name.startswith("grad"):
            assert value.dtype == dtype
            # Matmuls of few rows sum over the vocabulary in another order than those of many rows.
            rounding = 16 if dtype == torch.float32 else 0.1
            limit = relative(naive[name], exact[name]) + rounding * torch.finfo(dtype).eps
            assert relative(value, exact[name]) <= limit, name
        else:
            assert value.dtype == torch.float32
            assert error(value, exact[name]) <= error(naive[name], exact[name]) + tolerance, name


def compute_all(file):
    """Run every case with interpreted kernels (in a subprocess) and save the results."""
    found = {
        (name, dtype): ours(case.to(DTYPES[dtype])) for name, case in CASES.items() for dtype in ("float32", "float16")
    }
    torch.save(found, file)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    return run_interpreted(__name__, tmp_path_factory)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_torch(name, dtype):
    check(ours(CASES[name].to(DTYPES[dtype])), CASES[name], DTYPES[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", CASES)
def test_interpreted(interpreted, name, dtype):
    check(interpreted[name, dtype], CASES[name], DTYPES[dtype])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_on_a_gpu(name, dtype):
    found = {key: value.cpu() for key, value in ours(CASES[name].to(DTYPES[dtype], "cuda")).items()}
    check(found, CASES[name], DTYPES[dtype])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if len(case.labels) < 60])
def test_float64_is_exact(name):
    case = CASES[name]
    found, exact = ours(case.to(torch.float64)), plain(case.to(torch.float64))
    for key, value in exact.items():
        assert found[key].dtype == torch.float64
        size = max(1.0, float(value.abs().max()) if value.numel() else 1.0)
        assert error(found[key], value) < 1e-12 * size, key


@pytest.mark.parametrize("name", FUSED)
def test_every_loss(name):
    """Against autograd over all logits."""
    case = make_case([6, 5, 4, 8, 1, 2], 32, 301, budget_rows=14)
    loss_fn = combine([name], [1.0], SETTINGS)
    found, exact = ours(case.to(torch.float64), loss_fn), plain(case.to(torch.float64), loss_fn)
    assert float(exact["grad hidden"].norm()) > 1e-4
    for key, value in exact.items():
        assert error(found[key], value) < 1e-11, key


@pytest.mark.parametrize("name", ["everything", "a pair longer than a chunk", "an empty answer", "some rows masked"])
def test_gradcheck(name):
    """Numerical derivatives of the torch implementation, for each input."""
    case = CASES[name]
    small = make_case(
        [4, 3, 2, 5] if name != "an empty answer" else [4, 0, 2, 5],
        5,
        11,
        bias=case.bias is not None,
        budget_rows=5 if case.budget_rows else None,
        masked=(1, 7) if name == "some rows masked" else (),
        **case.options,
    ).to(torch.float64)

    def loss(*leaves):
        hidden, weight, *bias = leaves
        return preference_loss(
            hidden, weight, small.labels, small.cu_seqlens, references(small), SIGMOID, weights=weights_of(small),
            bias=bias[0] if bias else None, budget=small.budget, **small.options,
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


@pytest.mark.parametrize("scale", [0.125, 65536.0])
def test_upstream_gradient(scale):
    """Gradient accumulation divides the loss and GradScaler multiplies it; float16 must not underflow."""
    case = CASES["chunks of pairs"]
    for dtype in (torch.float32, torch.float16):
        found, exact = ours(case.to(dtype), scale=scale), plain(case.to(dtype).to(torch.float64), scale=scale)
        for name in ("grad hidden", "grad weight"):
            assert relative(found[name], exact[name]) < 30 * torch.finfo(dtype).eps


def test_tiny_gradients_survive_float16():
    """Without scaling, most gradients below 6e-8 would be rounded to zero before GradScaler sees them."""
    case = make_case([6, 5, 4, 8], 32, 8200)
    tiny = combine(["sigmoid"], [1e-4], SETTINGS)
    found = ours(case.to(torch.float16), tiny, scale=65536.0)
    exact = plain(case.to(torch.float16).to(torch.float64), tiny, scale=65536.0)
    for name in ("grad hidden", "grad weight"):
        assert relative(found[name], exact[name]) < 0.01


def test_autocast():
    """Matmuls use autocast's dtype; the loss stays float32, and gradients have the dtype of their leaves."""
    case = CASES["bias"].to(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(case)
    exact = plain(CASES["bias"].to(torch.float64))
    assert found["loss"].dtype == found["grad weight"].dtype == torch.float32
    assert 1e-5 < relative(found["grad weight"], exact["grad weight"]) < 0.02
    assert error(found["loss"], exact["loss"]) < 0.05


def test_frozen_inputs(monkeypatch):
    """Gradients of frozen inputs are not computed."""
    monkeypatch.delattr(OutputHead, "_add_grad_weight")
    case = CASES["bias"].to(torch.float32)
    case.weight.requires_grad_(False)
    case.bias.requires_grad_(False)
    found = ours(case)
    assert found["grad weight"] is None
    assert found["grad bias"] is None
    assert error(found["grad hidden"], plain(CASES["bias"].to(torch.float64))["grad hidden"]) < 1e-6


def test_without_gradients():
    case = CASES["bias"].to(torch.float32)
    with torch.no_grad():
        loss, metrics = preference_loss(
            case.hidden, case.weight, case.labels, case.cu_seqlens, references(case), SIGMOID, bias=case.bias
        )
    assert not loss.requires_grad
    assert metrics.losses.mean() == pytest.approx(float(loss))


def test_a_loss_without_a_gradient():
    """A non-differentiable loss can be evaluated, and its gradients are zero."""

    def accuracy(pairs):
        return (pairs.chosen > pairs.rejected).float()

    case = CASES["bias"].to(torch.float32)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            loss, _ = preference_loss(
                case.hidden, case.weight, case.labels, case.cu_seqlens, None, accuracy, bias=case.bias
            )
        assert float(loss) in {0.0, 0.5, 1.0}
    found = ours(case, accuracy)
    assert not found["grad hidden"].any()
    assert not found["grad weight"].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_tokens_masked_by_the_bias(dtype):
    """A bias of -inf over a whole tile, and over part of another."""
    case = make_case([4, 3, 5, 2], 32, 20_000, bias=True)
    case.bias[:9000] = -torch.inf
    case = replace(case, labels=case.labels.clamp(min=9000))
    found = ours(case.to(DTYPES[dtype]))
    exact = plain(case.to(DTYPES[dtype]).to(torch.float64))
    assert error(found["loss"], exact["loss"]) < 1e-4
    assert relative(found["grad weight"], exact["grad weight"]) < 2 * torch.finfo(DTYPES[dtype]).eps + 1e-5
    assert not found["grad bias"][:9000].any()


@pytest.mark.parametrize(("options", "scale"), [({"temperature": 0.003}, 1.0), ({"logit_scale": 1e-5}, 65536.0)])
def test_steep_and_flat_logits_in_float16(options, scale):
    """The gradient stored in float16 contains the slope of the logits."""
    case = make_case([6, 5, 4, 8], 32, 301, size=0.05, **options).to(torch.float16)
    found, exact = ours(case, scale=scale), plain(case.to(torch.float64), scale=scale)
    for name in ("grad hidden", "grad weight"):
        assert relative(found[name], exact[name]) < 0.02


def test_a_bias_that_is_not_contiguous():
    case = CASES["bias"].to(torch.float64)
    strided = torch.stack([case.bias.detach(), torch.zeros_like(case.bias)], 1)[:, 0]
    for bias in (strided, case.bias.detach()[:1].expand(8200)):
        found, _ = preference_loss(case.hidden, case.weight, case.labels, case.cu_seqlens, None, SIGMOID, bias=bias)
        whole = plain(replace(case, bias=bias.clone().requires_grad_()))
        refs = references(case)
        with_refs, _ = preference_loss(
            case.hidden, case.weight, case.labels, case.cu_seqlens, refs, SIGMOID, weights=weights_of(case), bias=bias,
            confidences=targets_of(case)[0],
        )  # fmt: skip
        assert float((with_refs - whole["loss"]).detach()) == pytest.approx(0, abs=1e-12)
        assert found.isfinite()


def test_backward_runs_only_once():
    case = CASES["one pair"].to(torch.float32)
    loss, _ = preference_loss(case.hidden, case.weight, case.labels, case.cu_seqlens, None, SIGMOID)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward can run only once"):
        loss.backward()


def test_a_custom_loss():
    """Any function of pairs, differentiated by autograd inside the chunk."""

    def own(pairs):
        return (pairs.chosen - 2 * pairs.rejected.abs().sqrt()) * pairs.chosen_lengths / 100

    case = CASES["chunks of pairs"]
    found, exact = ours(case.to(torch.float64), own), plain(case.to(torch.float64), own)
    assert error(found["grad weight"], exact["grad weight"]) < 1e-12


def test_a_shared_prefix_cancels():
    """Dropped from both answers and added as a constant: the same loss and the same gradient."""
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(9, 16, generator=generator, dtype=torch.float64)  # 3 shared, 2 chosen, 4 rejected
    weight = torch.randn(50, 16, generator=generator, dtype=torch.float64)
    labels = torch.randint(50, (9,), generator=generator)
    refs = torch.tensor([[-9.0, -11.0]])
    whole_rows = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 5, 6, 7, 8])

    def run(rows, cu_seqlens, extra):
        leaves = hidden[rows].requires_grad_(), weight.clone().requires_grad_()
        loss, metrics = preference_loss(*leaves, labels[rows], cu_seqlens, refs, SIGMOID, extra_logps=extra)
        loss.backward()
        return loss, metrics, leaves[0].grad, leaves[1].grad

    whole = run(whole_rows, [0, 5, 12], None)
    prefix = (hidden[:3] @ weight.T).log_softmax(-1).gather(1, labels[:3, None]).sum()
    dropped = run(torch.arange(3, 9), [0, 2, 6], prefix[None])
    assert error(whole[0].detach(), dropped[0].detach()) < 1e-12
    assert error(whole[1].chosen_logps, dropped[1].chosen_logps) < 1e-12
    assert error(whole[3], dropped[3]) < 1e-12
    assert error(whole[2][[3, 4, 8, 9, 10, 11]], dropped[2]) < 1e-12
    assert error(whole[2][:3], -whole[2][5:8]) < 1e-12  # the gradients of the dropped rows are equal and opposite


def test_metrics():
    case = CASES["an empty answer"].to(torch.float32)
    _, metrics = preference_loss(case.hidden, case.weight, case.labels, case.cu_seqlens, None, SIGMOID)
    assert not any(getattr(metrics, name).requires_grad for name in metrics.__slots__)
    sums = naive_sequences(case).detach().view(-1, 2)
    assert error(metrics.chosen_logps, sums[:, 0]) < 1e-4
    assert error(metrics.losses, -logsigmoid(0.3 * (sums[:, 0] - sums[:, 1]))) < 1e-4
    best = (case.hidden @ case.weight.T).argmax(1) == case.labels
    assert metrics.chosen_top1.tolist() == [float(best[:5].sum()), 0.0, 0.0]
    likeliest = replace(case, labels=(case.hidden @ case.weight.T).argmax(1))
    _, metrics = preference_loss(case.hidden, case.weight, likeliest.labels, case.cu_seqlens, None, SIGMOID)
    assert metrics.chosen_top1.tolist() == [5.0, 0.0, 0.0]


def test_workspace_stays_within_its_budget():
    """No N x V tensor is allocated: the largest allocation fits the budget plus the gradients."""
    rows, dimensions, vocabulary = 600, 16, 20_000
    case = make_case([100] * 6, dimensions, vocabulary).to(torch.float32)
    budget = 60 * vocabulary * 4  # a tenth of the logits
    with torch.profiler.profile(profile_memory=True) as profile:
        loss, _ = preference_loss(case.hidden, case.weight, case.labels, case.cu_seqlens, None, SIGMOID, budget=budget)
        loss.backward()
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert largest <= budget + 4 * (rows + vocabulary) * dimensions
    assert largest < rows * vocabulary * 4 / 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": torch.zeros(7, 31)}, r"expected hidden \[N, D\], weight \[V, D\] and labels \[N\], found hidden"),
        ({"labels": torch.zeros(6, dtype=torch.long)}, r"labels \(6,\)"),
        ({"labels": torch.zeros(7, dtype=torch.int32)}, "labels of dtype int64, found torch.int32"),
        ({"hidden": torch.zeros(7, 32, dtype=torch.long)}, "of a floating dtype, found torch.int64 and torch.float32"),
        ({"labels": torch.full((7,), 301)}, r"labels must lie in \[0, 301\) or be -100, found 301 to 301"),
        ({"labels": torch.full((7,), -1)}, r"labels must lie in \[0, 301\) or be -100, found -1 to -1"),
        ({"cu_seqlens": [0, 4, 6]}, r"cu_seqlens must rise from 0 to the number of rows \(7\), found \[0, 4, 6\]"),
        ({"cu_seqlens": [0, 7]}, r"pair_cu_seqlens must have 2P \+ 1 entries, found 2"),
        ({"cu_seqlens": [0, 8, 7]}, "must rise"),
        ({"bias": torch.zeros(300)}, r"expected bias \[V\], found \(300,\)"),
        ({"options": {"softcap": 0.0}}, "softcap must be a positive number, found 0.0"),
        ({"options": {"temperature": -1.0}}, "temperature must be a positive number, found -1.0"),
        ({"options": {"logit_scale": float("nan")}}, "logit_scale must be finite, found nan"),
    ],
)
def test_invalid_inputs(changes, message):
    case = replace(CASES["all rows masked"], **changes)
    with pytest.raises(ValueError, match=message):
        preference_loss(
            case.hidden, case.weight, case.labels, case.cu_seqlens, None, SIGMOID, bias=case.bias, **case.options
        )


def test_per_pair_values_of_a_wrong_shape():
    case = CASES["one pair"]
    for name in ("ref_logps", "weights", "confidences", "scores", "extra_logps", "lengths"):
        given = {"ref_logps": None, name: torch.zeros(3, 3)}
        with pytest.raises(ValueError, match=rf"expected {name} \[1.*\], found \[3, 3\]"):
            preference_loss(case.hidden, case.weight, case.labels, case.cu_seqlens, loss_fn=SIGMOID, **given)
    with pytest.raises(ValueError, match=r"one loss per pair, \[1\], found \[\]"):
        preference_loss(case.hidden, case.weight, case.labels, case.cu_seqlens, None, lambda pairs: pairs.chosen.sum())
