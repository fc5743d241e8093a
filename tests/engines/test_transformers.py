"""The transformers engine on a tiny model: completions and log-probabilities."""

import gc
import weakref

import pytest
import torch
from srlm.engines.base import Request, Sampling
from srlm.errors import EngineError

from tests.engines.drawing import (
    GREEDY,
    SAMPLED,
    biased,
    by_key,
    log_probabilities,
    make_engine,
    requests,
    watch_passes,
)
from tests.engines.generation_settings import with_settings
from tests.scripted import Recorder


@pytest.mark.parametrize("shared", [0, 20, 50])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_text_does_not_depend_on_the_batch(folder, tiny_tokenizer, engine, sampling, shared):
    some = requests(sampling, shared=shared)
    alone = by_key(make_engine(folder, tiny_tokenizer, batch_size=1), some)
    together = by_key(engine, some)
    assert [together[key].token_ids for key in alone] == [alone[key].token_ids for key in alone]
    for key, done in alone.items():
        assert together[key].logprob == pytest.approx(done.logprob, abs=1e-3)
    assert len({tuple(done.token_ids) for done in alone.values()}) == len(some)


def test_prefix_cache_is_kept_and_changes_nothing(folder, tiny_tokenizer):
    engine = make_engine(folder, tiny_tokenizer, batch_size=4)
    first, second = (requests(SAMPLED, lengths, shared=64) for lengths in [(10, 30, 5, 7), (22, 1, 9)])
    passes = watch_passes(engine)
    by_key(engine, first)
    before = len(passes)
    assert sum(shape[0] == 1 for shape in passes) == 1  # the prefix, once
    assert all(shape[1] <= 64 for shape in passes)
    found = by_key(engine, second)
    assert all(shape[1] < 64 for shape in passes[before:])
    fresh = by_key(make_engine(folder, tiny_tokenizer, batch_size=1), second)
    assert {key: done.token_ids for key, done in found.items()} == {key: d.token_ids for key, d in fresh.items()}


def test_prompts_that_are_prefixes_of_each_other(folder, tiny_tokenizer, engine):
    whole = requests(GREEDY, (60,))[0].prompt_ids
    some = [Request(str(length), whole[:length], GREEDY, 1) for length in (60, 60, 45, 59)]
    some[1] = Request("60 again", whole, GREEDY, 1)
    found = by_key(engine, some)
    assert found["60"].token_ids == found["60 again"].token_ids
    for request in some:
        assert (
            by_key(make_engine(folder, tiny_tokenizer), [request])[request.key].token_ids
            == found[request.key].token_ids
        )


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.6])
@pytest.mark.parametrize("shared", [0, 50])
def test_logprobs_are_those_of_a_plain_forward_pass(engine, model, temperature, shared):
    some = requests(Sampling(temperature, 0.8, 12, logprob_token_ids=(22, 280, 5)), shared=shared)
    for request in some:
        done = by_key(engine, some)[request.key]
        logps = log_probabilities(model, request, done)
        chosen = logps.gather(1, torch.tensor(done.token_ids)[:, None])[:, 0]
        assert done.logprob == pytest.approx(chosen.sum().item(), abs=1e-3)
        assert torch.tensor(done.requested_logprobs).shape == (len(done.token_ids), 3)
        assert torch.tensor(done.requested_logprobs).double() == pytest.approx(logps[:, [22, 280, 5]], abs=1e-4)


def test_no_requested_logprobs(engine):
    done = by_key(engine, requests(GREEDY, (9,)))["r0"]
    assert done.requested_logprobs == [[]] * len(done.token_ids)


def test_greedy_is_transformers_greedy(engine, model):
    for request, done in zip(requests(GREEDY), by_key(engine, requests(GREEDY)).values(), strict=True):
        done = by_key(engine, [request])[request.key]
        ids = torch.tensor([request.prompt_ids])
        expected = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
        assert done.token_ids == expected[0, ids.shape[1] :].tolist()


def test_end_token_ends_a_row(folder, tiny_tokenizer):
    eos = tiny_tokenizer.eos_token_id
    engine = biased(folder, tiny_tokenizer, eos, bias=3.0)
    found = by_key(engine, requests(Sampling(1.0, 1.0, 30), (9, 20, 33, 4, 5, 6, 7, 8)))
    ended = [done for done in found.values() if done.finish_reason == "stop"]
    assert ended
    assert len({len(done.token_ids) for done in ended}) > 1
    for done in found.values():
        if done.finish_reason == "stop":
            assert done.token_ids.index(eos) == len(done.token_ids) - 1
        else:
            assert len(done.token_ids) == 30
            assert eos not in done.token_ids
        assert done.text == tiny_tokenizer.decode([token for token in done.token_ids if token > 2])
        assert done.logprob < 0


def test_logprob_counts_the_end_token_and_nothing_after(folder, tiny_tokenizer):
    eos = tiny_tokenizer.eos_token_id
    engine = biased(folder, tiny_tokenizer, eos, bias=2.5)
    some = requests(Sampling(1.0, 1.0, 30), (9, 20, 33, 4))
    found = by_key(engine, some)
    assert {done.finish_reason for done in found.values()} >= {"stop"}
    for request in some:
        done = found[request.key]
        chosen = log_probabilities(engine._model, request, done).gather(1, torch.tensor(done.token_ids)[:, None])
        assert done.logprob == pytest.approx(chosen.sum().item(), abs=1e-3)


def test_second_end_token_of_the_generation_config(folder, tiny_tokenizer, tmp_path):
    folder = with_settings(folder, tmp_path, eos_token_id=[tiny_tokenizer.eos_token_id, 77])
    engine = biased(folder, tiny_tokenizer, 77, bias=50.0)
    done = by_key(engine, requests(GREEDY, (9,)))["r0"]
    assert (done.token_ids, done.finish_reason) == ([77], "stop")


def test_max_tokens_ends_with_length(engine):
    done = by_key(engine, requests(Sampling(0.0, 1.0, 3), (9,)))["r0"]
    assert (len(done.token_ids), done.finish_reason) == (3, "length")


@pytest.mark.parametrize("stop", ["\nTask", "☃", "b"])
def test_stop_strings_cut_the_text(folder, tiny_tokenizer, stop):
    written = tiny_tokenizer(f"a{stop} and more", add_special_tokens=False)["input_ids"]
    needed = next(n for n in range(len(written)) if stop in tiny_tokenizer.decode(written[:n]))
    engine = make_engine(folder, tiny_tokenizer)
    prompts = [tuple(range(50, 50 + length)) for length in (10, 14)]
    steps = []

    def force(module, args, output):
        """The first row writes `written`, the second only its first token, again and again."""
        output.logits[:] = 0
        output.logits[0, -1, written[min(len(steps), len(written) - 1)]] = 50
        output.logits[1, -1, written[0]] = 50
        steps.append(1)

    engine._model.register_forward_hook(force)
    some = [Request(str(len(ids)), ids, Sampling(0.0, 1.0, 20, stop=("never", stop)), 1) for ids in prompts[::-1]]
    found = by_key(engine, some)
    stopped, other = found["14"], found["10"]
    assert (stopped.text, stopped.finish_reason) == ("a", "stop")
    assert stopped.token_ids == written[: len(stopped.token_ids)]
    assert 1 <= len(stopped.token_ids) <= needed
    assert (other.text, other.finish_reason, len(other.token_ids)) == ("a" * 20, "length", 20)


def test_row_that_stops_ends_its_batch_early(folder, tiny_tokenizer):
    engine = biased(folder, tiny_tokenizer, tiny_tokenizer.convert_tokens_to_ids("x"), bias=50.0)
    passes = watch_passes(engine)
    found = by_key(engine, requests(Sampling(0.0, 1.0, 200, stop=("xxx",)), (9, 20)))
    assert {done.text for done in found.values()} == {""}
    assert len(passes) < 8


def test_seeds(engine):
    first, second = requests(SAMPLED, (9,)), requests(SAMPLED, (9,))
    assert by_key(engine, first)["r0"].token_ids == by_key(engine, second)["r0"].token_ids
    other = [Request("other", first[0].prompt_ids, SAMPLED, first[0].seed + 1)]
    assert by_key(engine, other)["other"].token_ids != by_key(engine, first)["r0"].token_ids


def test_requests_of_different_sampling_share_a_call(engine):
    mixed = [
        Request(f"{number}", (5, 6, 7 + number), Sampling(0.0, 1.0, tokens), number)
        for number, tokens in enumerate([2, 5, 2, 5])
    ]
    assert [len(by_key(engine, mixed)[str(n)].token_ids) for n in range(4)] == [2, 5, 2, 5]


def test_completions_do_not_wait_for_the_last_request(engine):
    asked = []

    def endless():
        while True:
            asked.append(1)
            yield Request(str(len(asked)), (5, 6, 7), Sampling(0.0, 1.0, 1), len(asked))

    drawn = engine.generate(endless())
    assert [next(drawn).key for _ in range(3)]
    assert len(asked) <= 16 * 4


def test_a_stage_may_wait_for_completions(engine):
    """The engine closes its window where a source has no request for now."""
    some, found = requests(GREEDY, (9, 12, 7, 8, 10)), {}

    def dependent():
        for number, one in enumerate(some):
            while len(found) < number // 2 * 2:
                yield None
            yield one

    for done in engine.generate(dependent()):
        found[done.key] = done
    assert {key: done.token_ids for key, done in found.items()} == {
        key: done.token_ids for key, done in by_key(engine, some).items()
    }
    with pytest.raises(RuntimeError, match="no request is in flight"):
        list(engine.generate([some[0], None, None]))


def test_no_requests(engine):
    assert list(engine.generate([])) == []


def test_the_longest_prompt_that_fits(engine):
    assert len(by_key(engine, [Request("long", tuple([5] * 500), GREEDY, 1)])) == 1


def test_log_probabilities_of_given_tokens(engine, model):
    ids = list(requests(GREEDY, (30,))[0].prompt_ids)
    with torch.inference_mode():
        logps = model(input_ids=torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1)
    expected = logps.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    assert engine.logprobs(ids) == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("shared", [0, 50])
@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), RuntimeError("can't allocate memory")],
    ids=["GPU", "CPU"],
)
def test_a_batch_that_does_not_fit_in_memory_is_halved_for_good(folder, tiny_tokenizer, monkeypatch, error, shared):
    some = requests(SAMPLED, (9, 40, 17, 80, 33, 12, 8), shared=shared)
    expected = by_key(make_engine(folder, tiny_tokenizer, batch_size=1), some)
    report = Recorder()
    engine = make_engine(folder, tiny_tokenizer, report, batch_size=7)
    tried = limit_batches(engine, monkeypatch, 2, error)
    found = by_key(engine, some)
    assert {key: done.token_ids for key, done in found.items()} == {key: d.token_ids for key, d in expected.items()}
    assert tried == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert report.notes == [
        "engine: a batch of 7 requests does not fit in memory; continuing with 3",
        "engine: a batch of 3 requests does not fit in memory; continuing with 1",
    ]
    by_key(engine, some[:3])
    assert tried[9:] == [1, 1, 1]  # the smaller size is kept


def limit_batches(engine, monkeypatch, most, error):
    """Make a batch of more than `most` requests fail; return the sizes that are tried."""
    tried, generate = [], engine._model.generate

    def limited(**arguments):
        tried.append(len(arguments["input_ids"]))
        if tried[-1] > most:
            raise error
        return generate(**arguments)

    monkeypatch.setattr(engine._model, "generate", limited)
    return tried


def test_a_single_request_that_does_not_fit_in_memory(engine, monkeypatch):
    """Smaller batches would not help: the request is marked as failed after three engine deaths."""
    limit_batches(engine, monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(EngineError, match=r"one request of 80 tokens does not fit in memory: CUDA out of memory"):
        list(engine.generate(requests(GREEDY)))


@pytest.mark.parametrize("error", [ValueError("out of range"), RuntimeError("CUDA error: device-side assert")])
def test_another_error_is_not_treated_as_out_of_memory(engine, monkeypatch, error):
    tried = limit_batches(engine, monkeypatch, 0, error)
    with pytest.raises(type(error)):
        list(engine.generate(requests(GREEDY)))
    assert len(tried) == 1


def test_close_releases_the_model(folder, tiny_tokenizer):
    engine = make_engine(folder, tiny_tokenizer)
    by_key(engine, requests(GREEDY, shared=40))
    model = weakref.ref(engine._model)
    engine.close()
    gc.collect()
    assert model() is None
    assert engine._prefix == ((), None)


def test_batches_are_those_of_generate(folder, tiny_tokenizer):
    """Suspects that run batch by batch must generate exactly what they would have generated together."""
    engine = make_engine(folder, tiny_tokenizer, batch_size=3)
    some = [*requests(SAMPLED, (9, 40, 17, 80, 33, 12, 8)), Request("greedy", (5, 6, 7), GREEDY, 1)]
    together = by_key(engine, some)
    batches = engine.batches(some)
    assert [[request.key for request in batch] for batch in batches] == [
        ["r3", "r1", "r4"], ["r2", "r5", "r0"], ["r6"], ["greedy"]
    ]  # fmt: skip
    engine = make_engine(folder, tiny_tokenizer, batch_size=3)
    apart = {done.key: done for batch in batches for done in engine.generate(batch)}
    assert apart == together
