"""Kernel `token_logps`: torch and Triton against float64, and compilation for GPU architectures."""

import pytest
import torch
from srlm.kernels.token_logps import kernel, token_logps, token_logps_torch, token_logps_triton

from tests.kernels.gpu_targets import POINTERS, check_compiles
from tests.kernels.interpreted import run_interpreted

SHAPES = [(1, 7), (3, 252), (5, 507), (2, 4097), (4, 49152)]
DTYPES = {"float32": torch.float32, "float16": torch.float16}


def make_cases():
    """Return {name: (logits [N, V], tokens [N])}, identical in every process."""
    generator = torch.Generator().manual_seed(0)
    cases = {}
    for rows, vocabulary in SHAPES:
        tokens = torch.randint(vocabulary, (rows,), generator=generator)
        tokens[-1] = vocabulary - 1
        logits = 5 * torch.randn(rows, vocabulary, generator=generator)
        masked = logits.masked_fill(torch.rand(rows, vocabulary, generator=generator) < 0.5, -torch.inf)
        masked.scatter_(1, tokens[:, None], 1.0)
        for name, dtype in DTYPES.items():
            cases[f"plain {rows}x{vocabulary} {name}"] = logits.to(dtype), tokens
            cases[f"masked {rows}x{vocabulary} {name}"] = masked.to(dtype), tokens
            cases[f"large {rows}x{vocabulary} {name}"] = (1000 * logits).to(dtype), tokens
            cases[f"strided {rows}x{vocabulary} {name}"] = _strided(logits.to(dtype)), tokens
    ends = torch.full((2, 4097), -torch.inf)
    ends[:, -1] = torch.tensor([3.0, -3.0])  # a whole first block of -inf
    cases["only the last one float32"] = ends, torch.tensor([4096, 4096])
    cases["a token of probability zero float32"] = ends, torch.tensor([0, 4095])
    ends = ends.flip(1).contiguous()
    cases["only the first one float32"] = ends, torch.tensor([0, 0])
    cases["vast float32"] = torch.tensor([[1e30, -1e30, 9e29]] * 3), torch.tensor([0, 1, 2])
    cases["equal float32"] = torch.zeros(1, 8192), torch.tensor([8191])
    pairs = torch.tensor([[3, 9], [4, 9], [5, 9]])
    cases["strided tokens float32"] = torch.randn(3, 252, generator=generator), pairs[:, 0]
    cases["no rows float32"] = torch.empty(0, 252), torch.empty(0, dtype=torch.long)
    return cases


def _strided(logits):
    """The same values, as a view with a row stride into a tensor with more rows and columns."""
    rows, vocabulary = logits.shape
    wide = torch.full((2 * rows, vocabulary + 5), 60.0, dtype=logits.dtype)
    view = wide[::2, 2 : vocabulary + 2]
    view.copy_(logits)
    return view


CASES = make_cases()


def truth(logits, tokens):
    return logits.double().log_softmax(-1).gather(1, tokens[:, None])[:, 0]


def check(found, logits, tokens):
    """The error is at most that of `log_softmax` in the logits' dtype, plus float32 rounding."""
    assert found.dtype == torch.float32
    assert found.shape == tokens.shape
    exact = truth(logits, tokens)
    naive = logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0].double()
    certain = exact.isfinite()
    assert torch.equal(found[~certain].double(), exact[~certain])
    if not certain.any():
        return
    error, naive_error = ((x - exact)[certain].abs().max().item() for x in (found.double(), naive))
    finite = logits[logits.isfinite()].double().abs().max().item()
    assert error <= naive_error + 4 * torch.finfo(torch.float32).eps * max(finite, 16.0)


def compute_all(file):
    """Run the interpreted kernel on every case (in a subprocess) and save the results."""
    torch.save({name: token_logps_triton(case[0], case[1].contiguous())[0] for name, case in CASES.items()}, file)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    return run_interpreted(__name__, tmp_path_factory)


@pytest.mark.parametrize("name", CASES)
def test_torch(name):
    logits, tokens = CASES[name]
    check(token_logps_torch(logits, tokens)[0], logits, tokens)


@pytest.mark.parametrize("name", CASES)
def test_interpreted(interpreted, name):
    check(interpreted[name], *CASES[name])


def test_torch_bfloat16():
    logits, tokens = CASES["plain 4x49152 float32"]
    check(token_logps_torch(logits.bfloat16(), tokens)[0], logits.bfloat16(), tokens)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("bfloat16", [False, True])
def test_on_a_gpu(bfloat16):
    for given, tokens in CASES.values():
        logits = given.bfloat16() if bfloat16 else given
        # A copy to the device makes the rows contiguous; a narrowed view keeps its row stride.
        wide = torch.nn.functional.pad(logits.float(), (3, 2), value=60.0).to(logits.dtype).cuda()
        on_device = wide[:, 3 : 3 + logits.shape[1]]
        check(token_logps(on_device, tokens.cuda()).cpu(), logits, tokens)


def test_public_function_uses_torch_on_a_cpu():
    logits, tokens = CASES["masked 5x507 float16"]
    assert torch.equal(token_logps(logits, tokens), token_logps_torch(logits, tokens)[0])


@pytest.mark.parametrize(
    ("logits", "tokens"), [((3, 4), (2,)), ((3, 4), (3, 1)), ((4,), (4,)), ((2, 3, 4), (2,)), ((0, 4), (1,))]
)
def test_wrong_shapes(logits, tokens):
    with pytest.raises(ValueError, match=r"expected logits \[N, V\] and tokens \[N\], found"):
        token_logps(torch.zeros(logits), torch.zeros(tokens, dtype=torch.long))


def test_the_kernel_needs_contiguous_rows():
    with pytest.raises(ValueError, match="last dimension must be contiguous"):
        token_logps_triton(torch.zeros(4, 3).T, torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("dtype", POINTERS)
@pytest.mark.parametrize("cap", [False, True])
def test_compiles_for(capability, dtype, cap):
    signature = {"logits": POINTERS[dtype], "tokens": "*i64", "logps": "*fp32", "maxima": "*fp32",
                 "log_totals": "*fp32", "row_stride": "i64", "vocabulary": "i32", "slope": "fp32",
                 "cap": "fp32"}  # fmt: skip
    check_compiles(kernel(), signature, {"HAS_CAP": cap, "BLOCK": 4096}, capability)
