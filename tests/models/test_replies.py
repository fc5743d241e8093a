"""What was said in a completion, and what was thought."""

import copy

import pytest
from srlm.engines.base import Completion
from srlm.models.replies import ReplyReader, said_in
from tokenizers import AddedToken

PLAIN = "{% for m in messages %}{{ m.content }}\n{% endfor %}"


def make(tokenizer, *special, prompt_end=""):
    """Return a tokenizer with further special tokens, whose template ends the prompt with `prompt_end`."""
    found = copy.deepcopy(tokenizer)
    found.add_tokens([AddedToken(text, special=True, normalized=False) for text in special], special_tokens=True)
    found.chat_template = PLAIN + prompt_end
    return found


def completed(tokenizer, text, finish_reason="stop"):
    """Return an engine's completion: special tokens are in the ids, but not in the text."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if finish_reason == "stop":
        ids = [*ids, tokenizer.eos_token_id]
    return Completion("k", ids, tokenizer.decode(ids, skip_special_tokens=True), -1.0, finish_reason, [])


@pytest.mark.parametrize(
    ("text", "said", "thought"),
    [
        ("Paris.", "Paris.", None),
        ("<think>hm</think>Paris.", "Paris.", "hm"),
        ("[THINK]hm[/THINK]Paris.", "Paris.", "hm"),
        ("<|START_THINKING|>hm<|END_THINKING|>Paris.", "Paris.", "hm"),
        ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Paris.", "Paris.", "hm"),
        ("<think>hm", "", "hm"),
        ("hm</think>Paris.", "Paris.", "hm"),
    ],
)
@pytest.mark.parametrize("are_special", [False, True])
def test_thoughts(text, said, thought, are_special, tiny_tokenizer):
    """The tags may be special tokens, which the engine's text lacks."""
    tags = ["<think>", "</think>", "[THINK]", "[/THINK]", "<|START_THINKING|>", "<|END_THINKING|>"]
    tags += ["<|channel|>", "<|message|>", "<|start|>", "<|end|>"]
    tokenizer = make(tiny_tokenizer, *(tags if are_special else []))
    found = ReplyReader(tokenizer).read(completed(tokenizer, text))
    assert (found.text, found.thought, found.tokens, found.open) == (said, thought, None, not said)


@pytest.mark.parametrize("are_special", [False, True])
@pytest.mark.parametrize("opening", ["<think>\n", "[THINK]"])
def test_the_template_opened_the_thought(opening, are_special, tiny_tokenizer):
    tags = [opening.strip(), opening.strip().replace("<", "</").replace("[", "[/")]
    tokenizer = make(tiny_tokenizer, *(tags if are_special else []), prompt_end=opening)
    reader = ReplyReader(tokenizer)
    cut_off = reader.read(completed(tokenizer, "Score: 4", "length"))
    assert (cut_off.text, cut_off.thought, cut_off.open) == ("", "Score: 4", True)
    closed = reader.read(completed(tokenizer, f"hm{tags[1]}\n\nScore: 4", "length"))
    assert (closed.text, closed.thought, closed.open) == ("Score: 4", "hm", False)
    prefilled = reader.read(completed(tokenizer, "Score: 4", "length"), prefilled=True)
    assert (prefilled.text, prefilled.thought) == ("Score: 4", None)


@pytest.mark.parametrize(
    ("text", "prompt_end"),
    [
        ("Four.\nUser: more", ""),
        ("Four.\n\n### Instruction:\nmore", ""),
        ("Four. [INST] More", ""),
        ("Four.<|eot|>more", ""),
        ("Four.\n%% user %%\nmore", "%% assistant %%\n"),
    ],
)
def test_another_turn(text, prompt_end, tiny_tokenizer):
    """Whether the mark is a special token, a common one, or one of the template only."""
    tokenizer = make(tiny_tokenizer, "<|eot|>")
    if prompt_end:
        tokenizer.chat_template = (
            "{% for m in messages %}%% {{ m.role }} %%\n{{ m.content }}\n{% endfor %}" + prompt_end
        )
    for finish_reason in ("stop", "length"):
        completion = completed(tokenizer, text, finish_reason)
        found = ReplyReader(tokenizer).read(completion)
        assert (found.text, found.finish_reason) == ("Four.", "stop")
        assert tokenizer.decode(completion.token_ids[: found.tokens]).rstrip() == "Four."


def test_end_tokens_are_no_turn(tiny_tokenizer):
    tokenizer = make(tiny_tokenizer, "<|eot|>")
    found = ReplyReader(tokenizer).read(completed(tokenizer, "Four.<|eot|>"))
    assert (found.text, found.tokens, found.finish_reason) == ("Four.", None, "stop")


def test_a_stop_string_ends_the_text(tiny_tokenizer):
    """Where the text has to be decoded again, it ends before the stop string as the engine's does."""
    tokenizer = make(tiny_tokenizer, "<think>", "</think>")
    completion = completed(tokenizer, "<think>hm</think>Add 2.\nTask 3: no")
    assert ReplyReader(tokenizer).read(completion, stop=("\nTask",)).text == "Add 2."


@pytest.mark.parametrize("text", ["<think>hm</think>Score: 4", "Score: 4", "a\u00e9\u4f60 Score: 4\nUser: x"])
@pytest.mark.parametrize("are_special", [False, True])
def test_the_token_of_a_character(text, are_special, tiny_tokenizer):
    tokenizer = make(tiny_tokenizer, *(["<think>", "</think>"] if are_special else []))
    completion = completed(tokenizer, text)
    found = ReplyReader(tokenizer).read(completion)
    index = found.token_at(found.text.index("4"))
    assert "4" in tokenizer.decode(completion.token_ids[index])


def test_a_reply_of_an_unknown_template():
    found = said_in("<think>hm</think>Verdict: A<|im_end|>\n<|im_start|>user")
    assert (found.said, found.thought) == ("Verdict: A", "hm")
