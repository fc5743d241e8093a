"""vLLM's top-p on a CPU, against vLLM's own function."""

import importlib.util
from types import SimpleNamespace

import pytest
import torch

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vLLM is not installed", allow_module_level=True)

from srlm.config import EngineSection
from srlm.engines import nucleus, vllm_cpu
from srlm.engines.nucleus import NucleusProcessor, keep_nuclei
from srlm.engines.vllm_requests import TOP_P
from vllm.v1.sample.logits_processor.interface import BatchUpdate, MoveDirectionality
from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p_pytorch

VOCABULARY = 5000


def random_logits(rows, scale, seed=0):
    return scale * torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed))


def vllm_own(logits, top_p):
    return apply_top_k_top_p_pytorch(logits.clone(), None, torch.full((len(logits),), top_p), allow_cpu_sync=True)


def ours(logits, top_p):
    return keep_nuclei(logits.clone(), dict.fromkeys(range(len(logits)), top_p))


@pytest.fixture
def left_to_vllm(monkeypatch):
    """Count the rows that are left to vLLM's own function."""
    rows = []

    def own(logits, *args, **settings):
        rows.append(len(logits))
        return apply_top_k_top_p_pytorch(logits, *args, **settings)

    monkeypatch.setattr(nucleus, "apply_top_k_top_p_pytorch", own)
    return rows


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 3.0, 8.0, 30.0])
def test_kept_tokens_are_those_of_vllm(scale, top_p):
    logits = random_logits(24, scale)
    found = ours(logits, top_p)
    assert torch.equal(found, vllm_own(logits, top_p))
    assert found.isinf().any()


@pytest.mark.parametrize("top_p", [0.3, 0.9])
def test_peaked_rows_are_not_sorted(left_to_vllm, top_p):
    logits = random_logits(64, 8.0)
    assert torch.equal(ours(logits, top_p), vllm_own(logits, top_p))
    assert sum(left_to_vllm) <= 2


def test_a_tie_at_the_edge_is_decided_as_vllm_does(left_to_vllm):
    logits = torch.full((2, VOCABULARY), -30.0)
    logits[0, [7, 900, 4000]], logits[1, [3, 8]] = 2.0, 2.0
    found = ours(logits, 0.5)
    assert torch.equal(found, vllm_own(logits, 0.5))
    assert (found > -torch.inf).sum(-1).tolist() == [2, 1]
    assert left_to_vllm == [2]


def test_an_edge_within_rounding_is_decided_as_vllm_does(left_to_vllm):
    probs = torch.tensor([[0.5, 0.25, 0.125, 0.125]])
    assert torch.equal(ours(probs.log(), 0.75), vllm_own(probs.log(), 0.75))
    assert left_to_vllm == [1]


def test_impossible_and_broken_logits():
    logits = random_logits(3, 4.0)
    logits[0, 10:], logits[1, 5] = -torch.inf, torch.nan
    assert torch.equal(ours(logits, 0.9).nan_to_num(nan=7.0), vllm_own(logits, 0.9).nan_to_num(nan=7.0))


def test_other_rows_stay_as_they_are():
    logits = random_logits(4, 6.0)
    found = keep_nuclei(logits.clone(), {1: 0.9, 3: 0.2})
    assert torch.equal(found[[0, 2]], logits[[0, 2]])
    assert torch.equal(found[1:2], vllm_own(logits[1:2], 0.9))
    assert torch.equal(found[3:], vllm_own(logits[3:], 0.2))


def added(row, top_p):
    return row, SimpleNamespace(extra_args=None if top_p is None else {TOP_P: top_p}), [1], []


def test_processor_follows_the_batch():
    processor = NucleusProcessor(None, torch.device("cpu"), is_pin_memory=False)
    logits = random_logits(3, 6.0)
    assert processor.is_argmax_invariant()
    assert torch.equal(processor.apply(logits.clone()), logits)
    processor.update_state(BatchUpdate(3, [], [added(0, 0.9), added(1, None), added(2, 0.3)], []))
    found = processor.apply(logits.clone())
    assert torch.equal(found[0], vllm_own(logits[:1], 0.9)[0])
    assert torch.equal(found[1], logits[1])
    assert torch.equal(found[2], vllm_own(logits[2:], 0.3)[0])
    processor.update_state(BatchUpdate(2, [0], [], [(2, 0, MoveDirectionality.UNIDIRECTIONAL)]))
    processor.update_state(None)
    found = processor.apply(logits[:2].clone())
    assert torch.equal(found[0], vllm_own(logits[:1], 0.3)[0])
    assert torch.equal(found[1], logits[1])


def test_vllm_loads_the_processor():
    from vllm.v1.sample.logits_processor import _load_logitsprocs_by_fqcns

    assert _load_logitsprocs_by_fqcns([vllm_cpu.PROCESSOR]) == [NucleusProcessor]
    assert vllm_cpu.arguments(EngineSection())["logits_processors"] == [vllm_cpu.PROCESSOR]
