"""Messages to token ids: one begin token, one end token, and the same ids as rendering the whole conversation."""

import pytest
from srlm.errors import InputError
from srlm.models import chat
from srlm.models.registry import read_chat_template
from tokenizers.processors import TemplateProcessing

from tests import tiny

BOS, END = tiny.SPECIAL[0], tiny.SPECIAL[2]
WITH_BOS = "{{ bos_token }}" + tiny.CHAT_TEMPLATE
TEMPLATES = {"chatml": tiny.CHAT_TEMPLATE, "chatml with bos": WITH_BOS, "plain": read_chat_template("plain")}
NO_END = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
# Renders an earlier turn's prompt otherwise once an answer stands behind it.
CHANGING = "{% if messages[-1]['role'] == 'user' %}Answer this.\n{% endif %}" + tiny.CHAT_TEMPLATE
# Opens a think block for the answer to come, and leaves it out of answers that are there.
THINKING = tiny.CHAT_TEMPLATE.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n")

USER = chat.user("What is the capital of France?")
LONG = [{"role": "system", "content": "Be brief."}, *USER, *chat.assistant("Paris."), *chat.user("And of Italy?")]
ANSWERS = ["Rome.", "Score: 4", "two\n\nparagraphs\n- and a list", " é 😀 \u2028 ", "trailing line\n", "1" * 50]


@pytest.fixture(scope="module")
def shared_tokenizer():
    """Return a tokenizer that prepends a begin token when it adds special tokens, as Llama's does."""
    tokenizer = tiny.make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.bos_token_id)]
    )
    return tokenizer


@pytest.fixture
def tokenizer(shared_tokenizer):
    shared_tokenizer.chat_template = tiny.CHAT_TEMPLATE
    return shared_tokenizer


@pytest.fixture(params=TEMPLATES.values(), ids=TEMPLATES)
def templated(request, tokenizer):
    tokenizer.chat_template = request.param
    return tokenizer


def whole_ids(tokenizer, messages):
    return list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"])


@pytest.mark.parametrize("name", ["chatml with bos", "plain"])
def test_one_begin_token(name, tokenizer):
    tokenizer.chat_template = TEMPLATES[name]
    assert tokenizer(BOS + "text")["input_ids"].count(tokenizer.bos_token_id) == 2  # the fault that is avoided
    for prompt in (USER, LONG):
        ids = chat.prompt_ids(tokenizer, prompt)
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1


def test_no_begin_token_beyond_the_template(tokenizer):
    assert tokenizer.bos_token_id not in chat.prompt_ids(tokenizer, USER)


def test_no_begin_token_in_an_answer(templated):
    for answer in ANSWERS:
        assert templated.bos_token_id not in chat.completion_ids(templated, USER, chat.assistant(answer))


@pytest.mark.parametrize("prompt", [USER, LONG], ids=["one turn", "several turns"])
def test_a_prompt_is_encoded_as_by_the_tokenizer(templated, prompt):
    ids = chat.prompt_ids(templated, prompt)
    expected = templated.apply_chat_template(prompt, tokenize=True, add_generation_prompt=True, return_dict=True)
    assert list(ids) == list(expected["input_ids"])
    assert isinstance(ids, tuple)


@pytest.mark.parametrize("prompt", [USER, LONG], ids=["one turn", "several turns"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_prompt_and_answer_are_the_whole_conversation(templated, prompt, answer):
    completion = chat.assistant(answer)
    ids = [*chat.prompt_ids(templated, prompt), *chat.completion_ids(templated, prompt, completion)]
    whole = whole_ids(templated, [*prompt, *completion])
    assert whole[: len(ids)] == ids
    # Only what the template writes after the end token is left out: white space.
    assert templated.decode(whole[len(ids) :]).strip() == ""
    assert templated.eos_token_id not in whole[len(ids) :]


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_ends_with_the_end_token(templated, answer):
    ids = chat.completion_ids(templated, USER, chat.assistant(answer))
    assert ids[-1] == templated.eos_token_id
    assert ids.count(templated.eos_token_id) == 1
    assert templated.decode(ids[:-1]) == answer


def test_a_template_without_an_end_token(tokenizer):
    tokenizer.chat_template = NO_END
    ids = chat.completion_ids(tokenizer, USER, chat.assistant("Rome."))
    assert tokenizer.decode(ids) == "Rome." + END
    assert ids.count(tokenizer.eos_token_id) == 1


def test_an_empty_answer(templated):
    assert chat.completion_ids(templated, USER, chat.assistant("")) == [templated.eos_token_id]


@pytest.mark.parametrize("template", [CHANGING, THINKING], ids=["changing", "thinking"])
def test_a_template_that_renders_a_prompt_in_two_ways(template, tokenizer):
    tokenizer.chat_template = template
    chat.prompt_ids(tokenizer, USER)  # by itself it renders
    with pytest.raises(
        InputError, match=r"renders a prompt differently when an answer follows.*set model.chat_template"
    ):
        chat.completion_ids(tokenizer, USER, chat.assistant("Rome."))


@pytest.mark.parametrize("opening", ["Score: ", "Task 9:", "é"])
def test_a_prefill(templated, opening):
    ids = chat.prompt_ids(templated, USER, opening)
    without = chat.prompt_ids(templated, USER)
    assert templated.decode(ids) == templated.decode(without) + opening
    assert len(ids) > len(without)


def test_a_prefill_is_encoded_together_with_the_prompt(tokenizer):
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    ids = chat.prompt_ids(tokenizer, chat.user("The sco"), "re of the answer")
    assert list(ids) == tokenizer("The score of the answer", add_special_tokens=False)["input_ids"]


def test_turns():
    assert chat.user("a") == [{"role": "user", "content": "a"}]
    assert chat.assistant("b") == [{"role": "assistant", "content": "b"}]
