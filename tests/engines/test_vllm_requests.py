"""Requests to vLLM and its replies: parameters, and the text that is decoded at the end."""

import importlib.util
from types import SimpleNamespace

import pytest

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vLLM is not installed", allow_module_level=True)

from srlm.engines.base import Request, Sampling
from srlm.engines.vllm_requests import TOP_P, completion, sampling_params
from srlm.models import generation
from transformers import GenerationConfig
from vllm.logprobs import FlatLogprobs
from vllm.v1.engine.detokenizer import IncrementalDetokenizer

PROMPT = "Say it: "


def request(**settings):
    return Request("r", (5, 6), Sampling(**{"temperature": 0.7, "top_p": 0.9, "max_tokens": 8} | settings), seed=3)


def test_top_p_goes_to_the_processor_on_a_cpu_only():
    ours = sampling_params(request(), own_top_p=True)
    assert (ours.top_p, ours.extra_args) == (1.0, {TOP_P: 0.9})
    theirs = sampling_params(request(), own_top_p=False)
    assert (theirs.top_p, theirs.extra_args) == (0.9, None)


@pytest.mark.parametrize("settings", [{"top_p": 1.0}, {"temperature": 0.0}])
def test_no_top_p_where_it_has_no_effect(settings):
    params = sampling_params(request(**settings), own_top_p=True)
    assert (params.top_p, params.extra_args) == (1.0, None)


def test_text_is_read_at_each_step_only_for_stop_strings():
    assert not sampling_params(request(), own_top_p=True).detokenize
    stopped = sampling_params(request(stop=("\n",)), own_top_p=True)
    assert stopped.detokenize
    assert stopped.stop == ["\n"]


def test_logprobs_are_the_chosen_tokens_or_those_asked_for():
    assert sampling_params(request(), own_top_p=True).logprobs == 0
    asked = sampling_params(request(logprob_token_ids=(7, 9)), own_top_p=True)
    assert (asked.logprobs, asked.logprob_token_ids) == (None, [7, 9])


def reply(token_ids, reason, logprobs=None, text=""):
    flat = FlatLogprobs()
    for row in logprobs or [[-0.5]] * len(token_ids):
        flat.append_fast(range(len(row)), row, range(len(row)), [None] * len(row))
    return SimpleNamespace(token_ids=token_ids, finish_reason=reason, logprobs=flat, text=text)


def test_logprobs_of_a_completion(tiny_tokenizer):
    asked = request(logprob_token_ids=(7, 9))
    done = completion(asked, reply([9, 40], "length", [[-1.0, -2.0, -1.0], [-0.25, -3.0, -4.0]]), tiny_tokenizer)
    assert (done.token_ids, done.logprob, done.finish_reason) == ([9, 40], -1.25, "length")
    assert done.requested_logprobs == [[-2.0, -1.0], [-3.0, -4.0]]
    plain = completion(request(), reply([9, 40], "abort", [[-1.0], [-2.0]]), tiny_tokenizer)
    assert (plain.logprob, plain.requested_logprobs, plain.finish_reason) == (-3.0, [[], []], "stop")


def test_text_before_a_stop_string_is_vllms(tiny_tokenizer):
    done = completion(request(stop=("\n",)), reply([9, 40], "stop", text="as vLLM cut it"), tiny_tokenizer)
    assert done.text == "as vLLM cut it"


def text_by_step(tokenizer, prompt, ids, reason):
    """Return the text as vLLM decodes it, token by token."""
    whole = SimpleNamespace(
        request_id="r",
        prompt_token_ids=list(prompt),
        prompt_embeds=None,
        sampling_params=sampling_params(request(), own_top_p=False),
    )
    decoder = IncrementalDetokenizer.from_new_request(tokenizer, whole)
    for at, token in enumerate(ids):
        decoder.update([token], reason == "stop" and at == len(ids) - 1)
    return decoder.get_next_output_text(finished=True, delta=False)


@pytest.mark.parametrize("answer", ["plain words", " a space first", "naïve 漢字 🙂 ok", "tabs\tand\n\nlines "])
def test_text_equals_vllms_at_every_length(tiny_tokenizer, answer):
    prompt = tuple(tiny_tokenizer(PROMPT)["input_ids"])
    ids = tiny_tokenizer(answer, add_special_tokens=False)["input_ids"]
    asked = Request("r", prompt, request().sampling, 3)
    for length in range(1, len(ids) + 1):  # an end inside a character too
        expected = text_by_step(tiny_tokenizer, prompt, ids[:length], "length")
        assert completion(asked, reply(ids[:length], "length"), tiny_tokenizer).text == expected
    assert completion(asked, reply(ids, "length"), tiny_tokenizer).text == answer


def test_text_has_no_end_token(tiny_tokenizer):
    ids = [*tiny_tokenizer("all", add_special_tokens=False)["input_ids"], 40]
    asked = Request("r", tuple(tiny_tokenizer(PROMPT)["input_ids"]), request().sampling, 3)
    assert completion(asked, reply(ids, "stop"), tiny_tokenizer).text == "all"


def test_the_settings_folder_depends_on_the_content_alone(tmp_path, monkeypatch):
    from srlm.engines import vllm

    monkeypatch.setattr(vllm.tempfile, "tempdir", str(tmp_path))
    one, again, other = (vllm.settings_folder(generation.neutral(end, 0)) for end in ([2], [2], [2, 5]))
    assert one == again != other
    saved = GenerationConfig.from_pretrained(other)
    assert saved.eos_token_id == [2, 5]
