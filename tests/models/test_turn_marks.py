"""Turn marks and opened thoughts, derived from chat templates."""

import copy
from importlib import resources
from pathlib import Path

import pytest
import trl
from srlm.models import chat
from srlm.models.turn_marks import turn_format

TEMPLATES = Path(trl.__file__).parent / "chat_templates"  # those of real models
THINKING = {"deepseek_r1_distill", "qwen3_5_think", "qwen3_6", "nemotron_3_super"}
# The strings with which real templates begin a turn, as far as they are no special token of the test's tokenizer.
TEXT_MARKS = {
    "cohere": ["<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"],
    "gemma3": ["<start_of_turn>user", "<start_of_turn>model", "<end_of_turn>"],
    "gemma4": ["<|turn>user", "<turn|>"],
    "llama3_1": ["<|start_header_id|>", "assistant<|end_header_id|>"],
    "phi3": ["<|user|>", "<|assistant|>", "<|end|>"],
    "glm4moe": ["<|user|>", "<|assistant|>"],
}


def with_template(tokenizer, template):
    found = copy.deepcopy(tokenizer)
    found.chat_template = template
    return found


def texts(tokenizer):
    return [text for text, _, _ in turn_format(tokenizer).marks.marks]


@pytest.mark.parametrize("file", sorted(TEMPLATES.glob("*.jinja")), ids=lambda file: file.stem)
def test_templates_of_real_models(file, tiny_tokenizer):
    tokenizer = with_template(tiny_tokenizer, file.read_text(encoding="utf-8"))
    found, name = turn_format(tokenizer), file.stem.removesuffix("_training")
    assert found.opens_thought is (name in THINKING or name.startswith(("deepseekv3", "nemotron_3", "qwen3_8")))
    for mark in TEXT_MARKS.get(name, []):
        assert any(mark in text for text, _, _ in found.marks.marks)


def test_the_packaged_template(tiny_tokenizer):
    packaged = resources.files("srlm") / "data" / "chat_templates" / "plain.jinja"
    tokenizer = with_template(tiny_tokenizer, packaged.read_text(encoding="utf-8"))
    found = turn_format(tokenizer).marks.marks
    assert sorted(found) == [("### Instruction:", True, False), ("### Response:", True, True)]


@pytest.mark.parametrize(
    ("template", "marks"),
    [
        ("{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}", ["[INST]", "[/INST]"]),
        ("{% for m in messages %}{{ m.role|upper }}: {{ m.content }} {% endfor %}", ["USER:", "ASSISTANT:"]),
        ("Q: {{ messages[0].content }}\nA:", ["Q:", "A:"]),
        ("{% for m in messages %}{{ m.role }}\n{{ m.content }}\n{% endfor %}", []),
        ("{{ messages[0].content }}", []),
        ("{{ raise_exception('no') }}", []),
        ("{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}", ["<|user|>", "<|assistant|>"]),
    ],
)
def test_marks(template, marks, tiny_tokenizer):
    assert sorted(texts(with_template(tiny_tokenizer, template))) == sorted(marks)


def test_special_tokens_are_no_marks(tiny_tokenizer):
    assert texts(tiny_tokenizer) == []


PROMPT = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "


@pytest.mark.parametrize(
    ("opening", "end"),
    [
        ("<think>\n", "</think>\n\n"),
        ("<think>", "</think>\n\n"),
        ("<seed:think>", "</seed:think>\n\n"),
        ("[THINK]", "[/THINK]\n\n"),
        ("\u25c1think\u25b7", "\u25c1/think\u25b7\n\n"),
        ("<|START_THINKING|>", "<|END_THINKING|>\n\n"),
        ("<|begin_of_thought|>", "<|end_of_thought|>\n\n"),
        ("<|channel>thought\n", "<channel|>\n\n"),
        ("<unused94>thought\n", "<unused95>\n\n"),
        ("<think>\n\n</think>\n\n", ""),
        ("[THINK][/THINK]", ""),
        ("", ""),
        ("<b>", ""),
    ],
)
def test_a_prefilled_answer_stands_behind_the_thought(opening, end, tiny_tokenizer):
    tokenizer = with_template(tiny_tokenizer, PROMPT + opening)
    assert turn_format(tokenizer).thought_end == end
    assert turn_format(tokenizer).opens_thought is bool(end)
    prefilled = chat.prefilled_ids(tokenizer, chat.user("q"), "Score: ")
    assert prefilled == chat.prompt_ids(tokenizer, chat.user("q"), f"{end}Score: ")


def test_harmony_needs_a_channel(tiny_tokenizer):
    tokenizer = with_template(tiny_tokenizer, "{{ messages[0].content }}<|start|>assistant")
    assert turn_format(tokenizer).thought_end == "<|channel|>final<|message|>"
    assert not turn_format(tokenizer).opens_thought


def test_another_template_is_derived_again(tiny_tokenizer):
    tokenizer = with_template(tiny_tokenizer, PROMPT + "<think>")
    assert turn_format(tokenizer).opens_thought
    tokenizer.chat_template = PROMPT
    assert not turn_format(tokenizer).opens_thought
