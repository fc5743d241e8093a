"""Kernel `logits_logps`: from materialized logits, with the gradient in place."""

import pytest
import torch
from srlm.kernels.logits_logps import kernel, logits_logps

from tests.kernels.gpu_targets import POINTERS, check_compiles
from tests.kernels.heads import CASES, DTYPES, error, relative
from tests.kernels.interpreted import run_interpreted

NAMES = ["507 rows, hidden 123", "a tile and one token", "an empty answer", "all rows masked", "some rows masked",
         "huge logits", "softcap", "scale and temperature", "no pairs"]  # fmt: skip


def make_logits(name, dtype):
    """Logits before scale, softcap and temperature, as a view into a wider tensor."""
    case = CASES[name]
    product = (case.hidden @ case.weight.T).to(dtype)
    wide = torch.full((len(product), product.shape[1] + 3), 9.0, dtype=dtype)
    wide[:, 1:-2] = product
    return wide[:, 1:-2], case


def upstream(case):
    return torch.linspace(-2, 3, 2 * case.pairs)


def ours(name, dtype, device="cpu"):
    logits, case = make_logits(name, dtype)
    leaf = logits.to(device).requires_grad_()
    sums = logits_logps(leaf, case.labels.to(device), case.cu_seqlens, **case.options)
    (sums * upstream(case).to(sums)).sum().backward()
    return {"logps": sums.detach(), "grad": leaf.grad}


def plain(name, dtype, wide):
    logits, case = make_logits(name, dtype)
    leaf = logits.to(wide).requires_grad_()
    z = leaf * case.options.get("logit_scale", 1.0)
    if cap := case.options.get("softcap"):
        z = cap * torch.tanh(z / cap)
    z = z / case.options.get("temperature", 1.0)
    tokens = z.log_softmax(-1).gather(1, case.labels.clamp(min=0)[:, None])[:, 0].masked_fill(case.labels == -100, 0.0)
    sums = [tokens[start:end].sum(dtype=torch.promote_types(wide, torch.float32))
            for start, end in zip(case.cu_seqlens, case.cu_seqlens[1:], strict=False)]  # fmt: skip
    stacked = torch.stack(sums) if sums else torch.empty(0, dtype=wide)
    if sums:
        (stacked * upstream(case).to(stacked)).sum().backward()
    return {"logps": stacked.detach(), "grad": torch.zeros_like(leaf) if leaf.grad is None else leaf.grad}


def check(found, name, dtype):
    exact, naive = plain(name, dtype, torch.float64), plain(name, dtype, dtype)
    tolerance = 4 * torch.finfo(torch.float32).eps * max(1.0, float(exact["logps"].abs().sum()))
    assert found["logps"].dtype == torch.float32
    assert error(found["logps"], exact["logps"]) <= error(naive["logps"], exact["logps"]) + tolerance
    assert found["grad"].dtype == dtype
    limit = relative(naive["grad"], exact["grad"]) + (4 if dtype == torch.float32 else 0.1) * torch.finfo(dtype).eps
    assert relative(found["grad"], exact["grad"]) <= limit


def compute_all(file):
    """Run every case with interpreted kernels (in a subprocess) and save the results."""
    torch.save({(name, dtype): ours(name, DTYPES[dtype]) for name in NAMES for dtype in ("float32", "float16")}, file)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    return run_interpreted(__name__, tmp_path_factory)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_torch(name, dtype):
    check(ours(name, DTYPES[dtype]), name, DTYPES[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", NAMES)
def test_interpreted(interpreted, name, dtype):
    check(interpreted[name, dtype], name, DTYPES[dtype])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_on_a_gpu(name, dtype):
    found = {key: value.cpu() for key, value in ours(name, DTYPES[dtype], "cuda").items()}
    check(found, name, DTYPES[dtype])


@pytest.mark.parametrize("options", [{}, {"softcap": 2.0, "logit_scale": 0.6, "temperature": 1.4}])
def test_gradcheck(options):
    logits = torch.randn(7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([0, 8, -100, 3, 4, 4, 1])

    def logps(leaf):
        return logits_logps(leaf, labels, [0, 3, 3, 7], in_place=False, **options)

    assert torch.autograd.gradcheck(logps, (logits,))


def test_the_gradient_overwrites_the_logits():
    """With `in_place` the gradient is written into the logits' storage; without it the logits are unchanged."""
    for in_place in (True, False):
        leaf = torch.randn(4, 50, requires_grad=True)
        logits = leaf * 1.0
        before, alias = logits.detach().clone(), logits.detach()
        logits_logps(logits, torch.tensor([1, 2, 3, 4]), [0, 4], in_place=in_place).sum().backward()
        assert torch.equal(alias, before) != in_place
        assert torch.equal(alias, leaf.grad) == in_place


def test_use_of_overwritten_logits_raises():
    """In a second backward pass, and in another function that saved the logits for backward."""
    labels = torch.tensor([1, 2, 3, 4])
    sums = logits_logps(torch.randn(4, 50, requires_grad=True), labels, [0, 4])
    sums.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="a second one needs in_place=False"):
        sums.sum().backward()
    logits = torch.randn(4, 50, requires_grad=True) * 1.0
    squares = logits.square()
    both = logits_logps(logits, labels, [0, 4]).sum()
    both.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        squares.sum().backward()


def test_labels_that_are_not_contiguous():
    logits = torch.randn(4, 50, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[1, 9], [2, 9], [3, 9], [4, 9]])[:, 0]
    grads = []
    for given in (labels, labels.clone()):
        leaf = logits.clone().requires_grad_()
        logits_logps(leaf, given, [0, 1, 4], in_place=False).sum().backward()
        grads.append(leaf.grad)
    assert torch.equal(*grads)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(3), torch.zeros(3, dtype=torch.long), r"expected logits \[N, V\]"),
        (torch.zeros(3, 4), torch.zeros(2, dtype=torch.long), r"found \(3, 4\), \(2,\)"),
        (torch.zeros(3, 4), torch.zeros(3), "torch.float32"),
        (torch.zeros(3, 4), torch.tensor([0, 4, 1]), r"labels must lie in \[0, 4\) or be -100, found 0 to 4"),
        (torch.zeros(3, 4), torch.tensor([0, -1, 1]), "found -1 to 1"),
        (torch.zeros(3, 4), torch.zeros(3, dtype=torch.long), "must rise from 0"),
    ],
)
def test_invalid_inputs(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        logits_logps(logits, labels, [0, 1])


@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("dtype", POINTERS)
@pytest.mark.parametrize("cap", [False, True])
def test_compiles_for(capability, dtype, cap):
    signature = {"logits": POINTERS[dtype], "labels": "*i64", "maximum": "*fp32",
                 "log_total": "*fp32", "upstream": "*fp32", "row_stride": "i64",
                 "vocabulary": "i32", "slope": "fp32", "cap": "fp32"}  # fmt: skip
    check_compiles(kernel(), signature, {"HAS_CAP": cap, "BLOCK": 2048}, capability)
