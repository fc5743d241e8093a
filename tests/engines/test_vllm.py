"""vLLM on a tiny model generates the same completions as the transformers engine."""

import importlib.metadata
import importlib.util
import multiprocessing
import os
import time

import pytest
import torch
from srlm.config import ModelSection
from srlm.engines import factory
from srlm.engines.base import Request, Sampling
from torch._dynamo.utils import counters

from tests.conftest import HANG_SECONDS
from tests.engines.drawing import GREEDY, SAMPLED, VLLM, by_key, log_probabilities, requests
from tests.engines.generation_settings import with_settings

WATCHED = Sampling(0.0, 1.0, 8, logprob_token_ids=(22, 280, 5))
STOPPED = Sampling(0.0, 1.0, 12, stop=("e",))


def in_vllm(folder, connection):
    """Start vLLM once in this process and send all requests of the tests."""
    engine = factory.load(folder, ModelSection(name=folder), VLLM)
    found = {"name": engine.name, "greedy": by_key(engine, requests(GREEDY, shared=20))}
    found["sampled"] = [by_key(engine, requests(SAMPLED)) for _ in range(2)]
    reseeded = [Request(r.key, r.prompt_ids, SAMPLED, r.seed + 1000) for r in requests(SAMPLED)]
    found["other seeds"] = by_key(engine, reseeded)
    found["watched"] = by_key(engine, requests(WATCHED))
    found["stopped"] = by_key(engine, requests(STOPPED))
    many = [Request(f"left{number}", (5, 6, 7 + number), GREEDY, number) for number in range(40)]
    drawn = engine.generate(many)
    found["first"] = next(drawn).key
    drawn.close()
    found["after leaving"] = by_key(engine, requests(GREEDY, shared=20))
    found["dependent"] = dependent(engine, requests(GREEDY, shared=20))
    found["unfinished"] = engine._engine.has_unfinished_requests()
    found["logprobs"] = engine.logprobs(list(requests(GREEDY, (30,))[0].prompt_ids))
    found["after reading"] = by_key(engine, requests(GREEDY, shared=20))
    found["compiled"] = dict(counters["frames"])
    connection.send(found)
    engine.close()


def dependent(engine, some):
    """Ask for each request only when the one before the last has been answered."""
    found = {}

    def asked():
        for number, one in enumerate(some):
            while len(found) < number - 1:
                yield None
            yield one

    for done in engine.generate(asked()):
        found[done.key] = done
    return found


def in_vllm_with_settings(folders, connection):
    """Start vLLM on models that are shipped with sampling settings, one after the other."""
    found = []
    for folder in folders:
        engine = factory.load(folder, ModelSection(name=folder), VLLM)
        found.append((by_key(engine, requests(GREEDY)), by_key(engine, requests(WATCHED))))
        engine.close()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"  # as on a GPU: the engine core is a process of its own
    settings = VLLM.model_copy(update={"dtype": "bfloat16", "max_num_seqs": None})
    low = factory.load(folders[0], ModelSection(name=folders[0]), settings)
    assert low.has_processes
    computed_in = low._engine.model_config.dtype, low._engine.model_config.head_dtype
    connection.send((found, computed_in, by_key(low, requests(WATCHED)), low.logprobs([5, 6, 7, 8])))
    low.close()


@pytest.mark.slow
def test_vllm_ignores_shipped_settings_but_end_tokens_and_has_a_float32_head(folder, engine, tmp_path):
    if importlib.util.find_spec("vllm") is None or not factory.vllm_is_cpu_build():
        pytest.skip("vLLM's CPU build is not installed")
    expected = by_key(engine, requests(WATCHED))
    ending = expected["r0"].token_ids[2]
    settings = [
        {"repetition_penalty": 1.8, "min_new_tokens": 9, "top_k": 1, "max_new_tokens": 2, "eos_token_id": [2, ending]},
        {"max_new_tokens": 0, "eos_token_id": [2, ending]},  # transformers refuses to load it
    ]
    folders = [with_settings(folder, tmp_path / str(number), **each) for number, each in enumerate(settings)]
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=in_vllm_with_settings, args=(folders, theirs))
    process.start()
    theirs.close()
    try:
        results, computed_in, low, logps = ours.recv()
        process.join(HANG_SECONDS)
        assert process.exitcode == 0
    finally:
        process.kill()
    for greedy, watched in results:
        assert (watched["r0"].token_ids, watched["r0"].finish_reason) == (expected["r0"].token_ids[:3], "stop")
        for key, done in watched.items():
            length = len(done.token_ids)
            assert done.token_ids == expected[key].token_ids[:length] == greedy[key].token_ids[:length]
            assert length == len(expected[key].token_ids) or done.token_ids[-1] == ending
            for row, other in zip(done.requested_logprobs, expected[key].requested_logprobs, strict=False):
                assert row == pytest.approx(other, abs=1e-3)
    assert computed_in == (torch.bfloat16, torch.float32)  # log-probabilities are read from logits in float32
    assert logps == pytest.approx(engine.logprobs([5, 6, 7, 8]), abs=0.2)
    for key, done in low.items():
        assert done.requested_logprobs[0] == pytest.approx(expected[key].requested_logprobs[0], abs=0.2)


def without_torn_end(text):
    """vLLM omits a character whose last bytes were not generated."""
    return text.rstrip("\ufffd")


@pytest.fixture(scope="module")
def vllm_results(folder):
    if importlib.util.find_spec("vllm") is None or not factory.vllm_is_cpu_build():
        pytest.skip("vLLM's CPU build is not installed")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=in_vllm, args=(folder, theirs))
    process.start()
    theirs.close()
    try:
        found = ours.recv()
        closed = time.monotonic()
        process.join(HANG_SECONDS)
        found["exit code"], found["seconds to end"] = process.exitcode, time.monotonic() - closed
    finally:
        process.kill()
    return found


@pytest.mark.slow
def test_vllm_samples_as_transformers_does(vllm_results, engine):
    assert vllm_results["name"] == "vllm"
    for key, expected in by_key(engine, requests(GREEDY, shared=20)).items():
        found = vllm_results["greedy"][key]
        assert (found.token_ids, found.finish_reason) == (expected.token_ids, expected.finish_reason)
        assert without_torn_end(found.text) == without_torn_end(expected.text)
        assert found.logprob == pytest.approx(expected.logprob, abs=1e-3)


@pytest.mark.slow
def test_vllm_logprobs_are_those_before_temperature(vllm_results, model):
    for request in requests(SAMPLED):
        done = vllm_results["sampled"][0][request.key]
        chosen = log_probabilities(model, request, done).gather(1, torch.tensor(done.token_ids)[:, None])
        assert done.logprob == pytest.approx(chosen.sum().item(), abs=1e-3)


@pytest.mark.slow
def test_vllm_seeds(vllm_results):
    one, two = ({key: d.token_ids for key, d in found.items()} for found in vllm_results["sampled"])
    assert one == two
    assert all(vllm_results["other seeds"][key].token_ids != ids for key, ids in one.items())


@pytest.mark.slow
def test_vllm_requested_logprobs(vllm_results, engine):
    for key, expected in by_key(engine, requests(WATCHED)).items():
        found = vllm_results["watched"][key]
        assert found.token_ids == expected.token_ids
        assert found.logprob == pytest.approx(expected.logprob, abs=1e-3)
        assert torch.tensor(found.requested_logprobs) == pytest.approx(
            torch.tensor(expected.requested_logprobs), abs=1e-3
        )


@pytest.mark.slow
def test_vllm_stop_strings(vllm_results, engine):
    reasons = set()
    for key, expected in by_key(engine, requests(STOPPED)).items():
        found = vllm_results["stopped"][key]
        assert without_torn_end(found.text) == without_torn_end(expected.text)
        assert found.finish_reason == expected.finish_reason
        reasons.add(found.finish_reason)
    assert reasons == {"stop", "length"}


@pytest.mark.slow
def test_vllm_aborts_requests_of_a_caller_that_stops(vllm_results):
    assert vllm_results["first"].startswith("left")
    assert vllm_results["after leaving"] == vllm_results["greedy"]
    assert {key: done.text for key, done in vllm_results["dependent"].items()} == {
        key: done.text for key, done in vllm_results["greedy"].items()
    }
    assert not vllm_results["unfinished"]


@pytest.mark.slow
def test_vllm_logprobs_of_given_tokens_equal_transformers(vllm_results, engine):
    expected = engine.logprobs(list(requests(GREEDY, (30,))[0].prompt_ids))
    assert vllm_results["logprobs"] == pytest.approx(expected, abs=1e-3)
    assert vllm_results["after reading"] == vllm_results["greedy"]


@pytest.mark.slow
def test_vllm_compiles_nothing_if_it_is_eager(vllm_results):
    assert vllm_results["compiled"] == {}


@pytest.mark.slow
def test_vllm_process_ends(vllm_results):
    assert vllm_results["exit code"] == 0
    assert vllm_results["seconds to end"] < HANG_SECONDS
