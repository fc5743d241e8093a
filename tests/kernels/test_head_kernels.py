"""Kernels `online_logsumexp` and `grad_logits`: Triton against torch, and compilation for GPU architectures."""

import itertools

import pytest
import torch
from srlm.kernels import grad_logits as grad
from srlm.kernels import online_logsumexp as online
from srlm.kernels.logit_transform import LogitTransform
from srlm.kernels.output_head import TILE

from tests.kernels.gpu_targets import POINTERS, check_compiles
from tests.kernels.interpreted import run_interpreted

COLUMNS = [1, 252, 507, 1024]
TRANSFORMS = {
    "plain": LogitTransform(),
    "capped": LogitTransform(softcap=3.0, logit_scale=0.5, temperature=2.0),
}
EXPS_DTYPES = {"float32": torch.float32, "float16": torch.float16}
NAMES = [
    " ".join(map(str, parts)) for parts in itertools.product(COLUMNS, TRANSFORMS, EXPS_DTYPES, ["bias", "no-bias"])
]


def run(name, *, triton):
    """Run both kernels on one tile; the rows of `exps` are a view into a wider tensor."""
    columns, transform, exps_dtype, with_bias = name.split()
    columns, transform = int(columns), TRANSFORMS[transform]
    generator = torch.Generator().manual_seed(columns)
    rows = 6
    product = 4 * torch.randn(rows, columns, generator=generator)
    bias = torch.randn(columns, generator=generator).half() if with_bias == "bias" else None
    labels = torch.tensor([0, columns - 1, columns // 2, -3, columns, -100])  # three of them not in this tile
    exps = torch.zeros(rows, columns + 5, dtype=EXPS_DTYPES[exps_dtype])[:, 2 : columns + 2]
    maximum, total, label_logit, weighted = torch.full((4, rows), -7.0).unbind()
    run_online = online.online_logsumexp_triton if triton else online.online_logsumexp_torch
    run_online(product.clone(), bias, labels, exps, maximum, total, label_logit, transform, weighted)
    found = {"exps": exps.clone(), "maximum": maximum, "total": total, "label": label_logit.clone()}
    found["weighted"] = weighted
    factor = 0.6 / total  # as if there were a second tile
    label_logp = label_logit - maximum + factor.log()
    upstream = torch.linspace(-1, 2, rows)
    run_grad = grad.grad_logits_triton if triton else grad.grad_logits_torch
    run_grad(exps, labels, maximum, factor, label_logit, label_logp, upstream, transform)
    return {**found, "grad": exps.clone()}


def compute_all(file):
    torch.save({name: run(name, triton=True) for name in NAMES}, file)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    return run_interpreted(__name__, tmp_path_factory)


@pytest.mark.parametrize("name", NAMES)
def test_triton_and_torch_agree(interpreted, name):
    for key, value in run(name, triton=False).items():
        eps = torch.finfo(value.dtype).eps
        found = interpreted[name][key]
        assert found.dtype == value.dtype
        assert torch.allclose(found.double(), value.double(), rtol=4 * eps, atol=40 * eps), key


def test_online_logsumexp_by_hand():
    """exp(z - maximum), its sum, the sum of its entropy terms, and the label's z in rows whose label is in the tile."""
    product = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, 5.0]])
    exps, label = torch.empty(2, 3), torch.tensor([9.0, 9.0])
    maximum, total, weighted = torch.empty(2), torch.empty(2), torch.empty(2)
    labels, plain = torch.tensor([2, 7]), LogitTransform()
    online.online_logsumexp(product.clone(), None, labels, exps, maximum, total, label, plain, weighted)
    assert torch.allclose(exps, (product - torch.tensor([[3.0], [5.0]])).exp())
    assert (maximum.tolist(), label.tolist()) == ([3.0, 5.0], [2.0, 9.0])
    assert torch.allclose(total, exps.sum(1))
    assert torch.allclose(weighted, -torch.special.entr(exps).sum(1))
    online.online_logsumexp(product.clone(), None, labels, exps, maximum, total.zero_(), label, plain)
    assert torch.allclose(total, exps.sum(1))


def test_rows_must_be_contiguous():
    transposed = torch.zeros(3, 4).T
    some = torch.zeros(4)
    with pytest.raises(ValueError, match="last dimension must be contiguous"):
        online.online_logsumexp(transposed, None, some.long(), transposed, some, some, some, LogitTransform())
    with pytest.raises(ValueError, match="last dimension must be contiguous"):
        grad.grad_logits(transposed, some.long(), some, some, some, some, some, LogitTransform())


@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("dtype", POINTERS)
@pytest.mark.parametrize("options", [False, True])
def test_online_logsumexp_compiles_for(capability, dtype, options):
    block = online.block_size(TILE)
    signature = {"product": "*fp32", "bias": POINTERS[dtype], "labels": "*i64", "exps": POINTERS[dtype],
                 "maximum": "*fp32", "total": "*fp32", "label_logit": "*fp32", "weighted": "*fp32",
                 "product_stride": "i64", "exps_stride": "i64", "columns": "i32", "slope": "fp32", "cap": "fp32",
                 "exp_scale": "fp32"}  # fmt: skip
    constants = {"HAS_BIAS": options, "HAS_CAP": options, "HAS_WEIGHTED": options, "BLOCK": block}
    check_compiles(online.kernel(), signature, constants, capability, online.num_warps_for(block))


@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("dtype", POINTERS)
@pytest.mark.parametrize("cap", [False, True])
def test_grad_compiles_for(capability, dtype, cap):
    signature = {"exps": POINTERS[dtype], "labels": "*i64", "maximum": "*fp32", "factor": "*fp32",
                 "label_logit": "*fp32", "label_logp": "*fp32",
                 "upstream": "*fp32", "exps_stride": "i64", "columns": "i32", "slope": "fp32", "cap": "fp32",
                 "inverse_scale": "fp32"}  # fmt: skip
    check_compiles(grad.kernel(), signature, {"HAS_CAP": cap, "BLOCK": 2048}, capability)
